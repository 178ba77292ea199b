//! Gateways come, go, are killed and lose their Redis: agents and clients go on, and nothing is lost or doubled.

mod announced;
mod cut_off;
mod gateways;
mod hanging;
mod put_back;
mod redis;
mod redis_cluster;
mod scene;
