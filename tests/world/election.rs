//! A second replica, which takes over from the world's operator.

use super::World;
use towline_testing::kubeconfig::User;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::process::Lifetime;
use towline_testing::wait::{PATIENCE, eventually};

/// The arguments of both replicas. The lease is short, but long enough for a machine that also compiles.
pub const ELECTION: [&str; 2] = ["--leader-elect", "--lease-duration=6s"];

/// A replica that stands by. The world's operator has the same arguments, and leads.
pub async fn standby(world: &World) -> Operator {
    standby_with(world, &[]).await
}

/// The same, with more arguments.
pub async fn standby_with(world: &World, more: &[&str]) -> Operator {
    let args = ELECTION.iter().chain(more);
    Operator::start(OperatorOptions {
        program: None,
        kubeconfig: world.cp.kubeconfig_for(User::Replica),
        args: args.map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
        lifetime: Lifetime::Ours,
    })
    .await
}

/// Waits until a replica leads.
pub async fn leads(operator: &Operator) {
    eventually("it leads", PATIENCE, async || {
        let page = operator.page("/metrics").await.unwrap_or_default();
        page.contains("\ntowline_leader 1").then_some(())
    })
    .await;
}
