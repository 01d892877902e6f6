//! Measurements.

use super::*;

/// Not a check but a measurement: `cargo test --lib source::git::tests::measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure() {
    let remote = Remote::start().await;
    let names: Vec<String> = (0..1010)
        .map(|i| format!("apps/{:03}/{i}.yaml", i / 4))
        .collect();
    let contents: Vec<String> = (0..1010)
        .map(|i| format!("kind: ConfigMap\nname: c{i}\n"))
        .collect();
    let entries: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| (name.as_str(), NewEntry::File(content.as_bytes())))
        .collect();
    remote.commit("main", &entries);
    let (_folder, cache) = cache();
    let mut request = remote.request(branch("main"));
    let start = Instant::now();
    let snapshot = fetch(&cache, request.clone()).await;
    println!("first fetch, 1010 files: {:?}", start.elapsed());
    let start = Instant::now();
    let listing = snapshot.listing("").unwrap();
    println!("listing: {:?}", start.elapsed());
    let start = Instant::now();
    for file in &listing.files {
        snapshot.read(file).unwrap();
    }
    println!("reading all: {:?}", start.elapsed());
    let start = Instant::now();
    for i in 0..250 {
        snapshot.tree_id(&format!("apps/{i:03}")).unwrap();
    }
    println!("250 tree ids: {:?}", start.elapsed());
    request.known = Some(snapshot);
    for round in 0..10u8 {
        let start = Instant::now();
        cache.fetch(request.clone()).await.unwrap();
        print!("ls-remote {:?}, ", start.elapsed());
        remote.commit(
            "main",
            &[("apps/001/4.yaml", NewEntry::File(&[b'a' + round]))],
        );
        let start = Instant::now();
        request.known = Some(fetch(&cache, request.clone()).await);
        println!("incremental, 250 paths known: {:?}", start.elapsed());
    }
    println!("{:?}", remote.requests().len());
}
