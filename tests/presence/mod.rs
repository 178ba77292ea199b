//! Who is there is known: devices, agents and people, over all gateways; and a pause is no leaving.

mod devices;
mod instances;
