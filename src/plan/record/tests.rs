use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Deserialize;
use serde_json::Map;

use super::*;

/// What Helm reads: `Release` of `pkg/release/v1`, with the types that its decoder insists on.
#[derive(Debug, Deserialize)]
struct HelmRelease {
    name: String,
    namespace: String,
    version: i32,
    info: HelmInfo,
    chart: HelmChart,
    config: Map<String, Value>,
    manifest: String,
    hooks: Vec<HelmHook>,
}

#[derive(Debug, Deserialize)]
struct HelmInfo {
    first_deployed: String,
    last_deployed: String,
    deleted: String,
    description: String,
    status: String,
    notes: String,
}

#[derive(Debug, Deserialize)]
struct HelmChart {
    metadata: BTreeMap<String, Value>,
    values: Map<String, Value>,
    templates: Vec<Value>,
    files: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct HelmHook {
    name: String,
    kind: String,
    events: Vec<String>,
    weight: i32,
}

fn sync() -> SyncName {
    SyncName::new("apps", "shop")
}

fn body() -> ReleaseBody {
    let map = |value: Value| value.as_object().unwrap().clone();
    ReleaseBody {
        metadata: json!({"name": "shop", "version": "1.2.3", "apiVersion": "v2"}),
        values: map(json!({"replicas": 1})),
        config: map(json!({"password": "hunter2"})),
        manifest: "---\n# Source: shop/templates/a.yaml\nkind: ConfigMap\n".to_owned(),
        hooks: vec![
            json!({"name": "h", "kind": "Job", "events": ["pre-install"], "weight": -5,
            "last_run": {"phase": ""}}),
        ],
        notes: "Thank you".to_owned(),
    }
}

fn live<'a>(sync: &'a SyncName, first: Option<&'a str>) -> LiveRelease<'a> {
    LiveRelease {
        status: RecordStatus::Deployed,
        sync,
        name: "web",
        namespace: "prod",
        content: "abc",
        version: 3,
        description: "Sync apps/shop: main@sha1:abc",
        first_deployed: first,
        now: ("2026-11-26T19:00:00Z", 1_795_719_600),
    }
}

/// A record that is there.
fn record(version: u32, status: &str, written: Option<(&SyncName, &str)>) -> HelmRecord {
    HelmRecord {
        name: record_key("prod", "web", version).name.to_string(),
        uid: version.to_string(),
        version,
        status: status.to_owned(),
        written: written.map(|(sync, content)| (sync.clone(), content.to_owned())),
    }
}

#[test]
fn a_record_has_the_form_of_helms_own() {
    let secret = live(&sync(), Some("2020-01-01T00:00:00Z"))
        .secret(body())
        .unwrap();
    assert_eq!(secret["type"], "helm.sh/release.v1");
    assert_eq!(secret["metadata"]["name"], "sh.helm.release.v1.web.v3");
    assert_eq!(
        secret["metadata"]["labels"],
        json!({"name": "web", "owner": "helm", "status": "deployed", "version": "3", "createdAt": "1795719600"})
    );
    // As `decodeRelease` does, on top of what the API server decodes: base64, the magic bytes of gzip, JSON.
    let value = BASE64_STANDARD
        .decode(secret["data"]["release"].as_str().unwrap())
        .unwrap();
    let bytes = BASE64_STANDARD.decode(value).unwrap();
    assert_eq!(bytes[..3], [0x1f, 0x8b, 0x08]);
    let read: HelmRelease = serde_json::from_value(unpacked(&secret).unwrap()).unwrap();
    assert_eq!(
        (&*read.name, &*read.namespace, read.version),
        ("web", "prod", 3)
    );
    let info = &read.info;
    assert_eq!(info.first_deployed, "2020-01-01T00:00:00Z");
    assert_eq!(info.last_deployed, "2026-11-26T19:00:00Z");
    assert_eq!((&*info.status, &*info.deleted), ("deployed", ""));
    assert_eq!(info.description, "Sync apps/shop: main@sha1:abc");
    assert_eq!(info.notes, "Thank you");
    assert_eq!(read.chart.metadata["version"], "1.2.3");
    assert_eq!(read.chart.values["replicas"], 1);
    assert!(read.chart.templates.is_empty() && read.chart.files.is_empty());
    assert_eq!(read.config["password"], "hunter2");
    assert!(read.manifest.starts_with("---\n# Source: "));
    let hook = &read.hooks[0];
    assert_eq!((&*hook.name, &*hook.kind, hook.weight), ("h", "Job", -5));
    assert_eq!(hook.events, ["pre-install"]);
}

/// A few kilobytes that would take gigabytes are no record.
#[test]
fn a_record_that_takes_too_much_memory_is_none() {
    let of = |items: String| {
        let json = format!(
            "{{\"info\":{{\"first_deployed\":\"x\"}},\"version\":1,\"manifest\":\"\",\"x\":[{items}0]}}"
        );
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(json.as_bytes()).unwrap();
        let value = BASE64_STANDARD.encode(packed.finish().unwrap());
        json!({"data": {"release": BASE64_STANDARD.encode(value)}})
    };
    assert_eq!(first_deployed(&of("[],".repeat(1000))).unwrap(), "x");
    for (item, count) in [
        ("[],", 9_000_000),
        ("{\"a\":1},", 2_000_000),
        ("0", 40 << 20),
    ] {
        let hostile = of(item.repeat(count));
        assert!(hostile.to_string().len() < 1 << 20);
        assert_eq!(first_deployed(&hostile), None, "{item}");
        assert_eq!(taken_over(&hostile, "", "prod"), None, "{item}");
    }
}

#[test]
fn a_record_is_found_again_and_superseded() {
    let mut secret = live(&sync(), None).secret(body()).unwrap();
    assert_eq!(HelmRecord::of(&secret), None, "it has no uid yet");
    secret["metadata"]["uid"] = "3".into();
    secret["metadata"]["resourceVersion"] = "17".into();
    let found = HelmRecord::of(&secret).unwrap();
    assert_eq!(found, record(3, "deployed", Some((&sync(), "abc"))));
    assert_eq!(first_deployed(&secret).unwrap(), "2026-11-26T19:00:00Z");
    let patch = superseded(&secret, 18).unwrap();
    let labels = json!({"status": "superseded", "modifiedAt": "18", "createdAt": null});
    assert_eq!(patch["metadata"]["labels"], labels);
    assert_eq!(patch["metadata"]["resourceVersion"], "17");
    let record = unpacked(&patch).unwrap();
    assert_eq!(record["info"]["status"], "superseded");
    assert_eq!(record["config"]["password"], "hunter2");
    for broken in [json!({"data": {"release": "AAAA"}}), json!({})] {
        assert_eq!(superseded(&broken, 1), None);
        assert_eq!(first_deployed(&broken), None);
    }
}

#[test]
fn a_record_that_no_secret_holds_is_refused_by_its_size() {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let noise = (0..150_000_u32).map(|number| {
        let mut hasher = DefaultHasher::new();
        number.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    });
    let large = ReleaseBody {
        manifest: noise.collect(),
        ..body()
    };
    let error = live(&sync(), None).secret(large).unwrap_err().to_string();
    assert!(error.ends_with("and a Secret holds 1024 KiB"), "{error}");
}

#[test]
fn the_next_record_follows_the_last_and_one_alone_is_live() {
    let (own, other) = (sync(), SyncName::new("apps", "other"));
    let next = |known: &[HelmRecord], number| {
        succeed(known, &own, "abc", number, RecordStatus::Deployed, |_| true)
    };
    let is = |version, is_there| {
        Ok(Succession {
            version,
            is_there,
            ..Succession::default()
        })
    };
    assert_eq!(next(&[], 1), is(1, false));
    assert_eq!(next(&[], 7), is(7, false), "people have deleted the others");
    let there = record(3, "deployed", Some((&own, "abc")));
    assert_eq!(
        next(std::slice::from_ref(&there), 3),
        is(3, true),
        "the process ended before it said so"
    );
    let helms = record(3, "deployed", None);
    let superseded = |known: &[HelmRecord], number| {
        let next = next(known, number).unwrap();
        let names = next.superseded.iter().map(|record| record.version);
        (next.version, next.is_there, names.collect::<Vec<_>>())
    };
    assert_eq!(
        superseded(std::slice::from_ref(&helms), 4),
        (4, false, vec![3])
    );
    // Helm has gone on meanwhile.
    assert_eq!(superseded(&[helms, there], 2).0, 4);
    let older = record(2, "deployed", Some((&own, "other content")));
    assert_eq!(
        superseded(std::slice::from_ref(&older), 3),
        (3, false, vec![2])
    );
    // The process ended before the last one was superseded.
    let there = record(3, "deployed", Some((&own, "abc")));
    assert_eq!(superseded(&[there, older], 3), (3, true, vec![2]));

    for status in [
        "pending-install",
        "pending-upgrade",
        "pending-rollback",
        "uninstalling",
    ] {
        let busy = [
            record(3, "deployed", None),
            record(4, status, Some((&own, "abc"))),
        ];
        let clash = next(&busy, 4).unwrap_err();
        assert!(matches!(clash, RecordClash::Pending { .. }), "{status}");
        assert_eq!(installed_by_helm(&busy), Err(clash));
    }
    let of_other = [record(3, "deployed", Some((&other, "abc")))];
    let clash = next(&of_other, 1).unwrap_err().to_string();
    assert!(clash.contains("Sync apps/other"), "{clash}");
    let gone = succeed(&of_other, &own, "abc", 1, RecordStatus::Deployed, |_| false).unwrap();
    assert_eq!((gone.version, gone.is_there), (4, false));
}

#[test]
fn a_failure_is_told_once_and_what_was_live_stays_deployed() {
    let own = sync();
    let failed = |known: &[HelmRecord], content| {
        succeed(known, &own, content, 2, RecordStatus::Failed, |_| true).unwrap()
    };
    let live = record(1, "deployed", Some((&own, "abc")));
    let next = failed(std::slice::from_ref(&live), "next");
    assert_eq!((next.version, next.is_there), (2, false));
    assert!(next.superseded.is_empty());
    let both = [live.clone(), record(2, "failed", Some((&own, "next")))];
    assert!(failed(&both, "next").is_there);
    assert_eq!(failed(&both, "other").version, 3);
    // What is live has not failed.
    assert!(failed(std::slice::from_ref(&live), "abc").is_there);
    // Once it has succeeded, it is another revision, as with Helm.
    let next = succeed(&both, &own, "next", 2, RecordStatus::Deployed, |_| true).unwrap();
    assert_eq!((next.version, next.is_there), (3, false));
    assert_eq!(next.superseded, std::slice::from_ref(&live));
    // However often it fails.
    let mut all: Vec<_> = (2..=9)
        .map(|version| record(version, "failed", Some((&own, "x"))))
        .collect();
    all.push(live);
    let versions = failed(&all, "y").surplus;
    let versions: Vec<_> = versions.iter().map(|record| record.version).collect();
    assert_eq!(versions, [5, 4, 3, 2]);
    // A first install that never succeeded is none.
    let first = [record(1, "failed", Some((&own, "abc")))];
    assert_eq!(installed_by_helm(&first), Ok(Some((1, false))));
}

#[test]
fn what_differs_from_a_release_that_is_taken_over_is_named() {
    let map = |name: &str, more: &str| {
        format!("---\n# Source: x\nkind: ConfigMap\nmetadata: {{name: {name}{more}}}\n")
    };
    let sync = sync();
    let secret = |manifest: String| {
        live(&sync, None)
            .secret(ReleaseBody { manifest, ..body() })
            .unwrap()
    };
    let before = secret([map("a", ""), map("b", ""), map("gone", "")].concat());
    let said = |manifest: String| taken_over(&before, &manifest, "prod").unwrap();
    let same = [map("b", ""), map("a", ", namespace: prod"), map("gone", "")].concat();
    assert_eq!(
        said(same),
        "takes over revision 3 of Helm, and no object differs from it"
    );
    let other = [
        map("a", ", labels: {x: y}"),
        map("b", ""),
        map("c", ", namespace: other"),
    ];
    assert_eq!(
        said(other.concat()),
        "takes over revision 3 of Helm; what differs: ConfigMap a (changed), ConfigMap gone (not in Git), \
         ConfigMap other/c (new)"
    );
    let many = (0..9).map(|number| map(&format!("n{number}"), ""));
    assert!(said(many.collect()).ends_with(" and 7 more"));
    assert_eq!(taken_over(&json!({}), "", "prod"), None);
}

#[test]
fn five_records_are_kept() {
    let all: Vec<HelmRecord> = [4, 9, 2, 3, 8, 6, 7, 5]
        .map(|version| record(version, "superseded", None))
        .into();
    let next = succeed(&all, &sync(), "abc", 1, RecordStatus::Deployed, |_| true).unwrap();
    let surplus: Vec<u32> = next.surplus.iter().map(|record| record.version).collect();
    assert_eq!((next.version, surplus), (10, vec![5, 4, 3, 2]));
    let own = sync();
    let all: Vec<HelmRecord> = (1..=5)
        .map(|version| record(version, "deployed", Some((&own, "abc"))))
        .collect();
    let next = succeed(&all, &own, "abc", 1, RecordStatus::Deployed, |_| true).unwrap();
    assert!(next.is_there && next.surplus.is_empty());
}

#[test]
fn the_newest_record_of_helm_says_whether_a_release_is_installed() {
    let old = || record(9, "superseded", None);
    for (records, expected) in [
        (vec![], None),
        (vec![record(1, "deployed", None)], Some((1, true))),
        (vec![record(10, "deployed", None), old()], Some((10, true))),
        (vec![old(), record(10, "failed", None)], Some((10, true))),
        (
            vec![record(10, "uninstalled", None), old()],
            Some((10, false)),
        ),
    ] {
        assert_eq!(installed_by_helm(&records), Ok(expected), "{records:?}");
    }
}

#[test]
fn records_go_with_their_sync_but_not_those_of_a_helm_that_went_on() {
    let own = sync();
    let ours = |version| record(version, "superseded", Some((&own, "abc")));
    let helms = |version| record(version, "superseded", None);
    let going = |known: &[HelmRecord], end| {
        let going = records_that_go(known, &own, end);
        let versions = going.iter().map(|record| record.version);
        versions.collect::<Vec<_>>()
    };
    let (taken_over, went_on) = ([helms(1), ours(2)], [helms(1), ours(2), helms(3)]);
    assert_eq!(going(&taken_over, ReleaseEnd::Deleted), [1, 2]);
    assert_eq!(going(&went_on, ReleaseEnd::Deleted), [1, 2]);
    assert!(going(&[helms(1), helms(2)], ReleaseEnd::Deleted).is_empty());
    assert!(going(&taken_over, ReleaseEnd::Left).is_empty());
    assert_eq!(going(&[ours(2), ours(3)], ReleaseEnd::Left), [2, 3]);
}
