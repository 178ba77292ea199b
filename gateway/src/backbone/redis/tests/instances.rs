//! Instances that share a Redis know each other.

use lockgate_proto::ids::InstanceId;

use super::*;
use crate::backbone::Instance;

const LONG: Duration = Duration::from_secs(3_600);

fn instance(id: u64, url: &str, edge: bool) -> Instance {
    Instance { id: InstanceId(id), url: url.parse().unwrap(), edge, client: true }
}

async fn known(backbone: &dyn Backbone) -> Vec<Instance> {
    backbone.instances().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_know_each_other_until_they_leave_or_their_lease_ends() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbones = [connect(&redis.url()).await, connect(&redis.url()).await];
    let [first, second] = [instance(1, "wss://gw-1.example.org", true), instance(u64::MAX, "ws://[::1]:8080/x", false)];
    assert_eq!(known(&*backbones[0]).await, []);
    backbones[0].announce(&first, LONG).await.unwrap();
    backbones[1].announce(&second, LEASE).await.unwrap();
    let both = [first.clone(), second.clone()];
    for backbone in &backbones {
        let known = known(&**backbone).await;
        // A slow machine may be beyond the short lease already.
        assert!(known == both || known == both[..1], "{known:?}");
    }
    // It dies without a word.
    let gone = eventually("the lease ends", async || {
        let known = known(&*backbones[0]).await;
        (known.len() == 1).then_some(known)
    });
    assert_eq!(gone.await, both[..1]);
    backbones[1].announce(&second, LONG).await.unwrap();
    assert_eq!(known(&*backbones[0]).await, both);
    backbones[0].announce(&first, Duration::ZERO).await.unwrap();
    assert_eq!(known(&*backbones[1]).await, [second]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_version_says_of_itself_harms_nobody() {
    let place = TempDir::new().unwrap();
    let redis = start(place.path());
    let backbone = connect(&redis.url()).await;
    redis.ask("HSET lockgate:{instances}:urls zz nonsense 0000000000000001 short").unwrap();
    let own = instance(2, "ws://127.0.0.1:8080", true);
    backbone.announce(&own, LONG).await.unwrap();
    assert_eq!(known(&*backbone).await, [own]);
}
