use super::*;

fn object(name: &str, action: Action, fields: &str) -> ObjectPlan {
    ObjectPlan {
        object: format!("ConfigMap a/{name}"),
        file: Some("a.yaml".to_owned()),
        action,
        remark: None,
        fields: Fields {
            text: fields.to_owned(),
            is_cut: false,
        },
        unserved: None,
        reach: Reach::Rest,
    }
}

fn plan(objects: Vec<ObjectPlan>) -> Plan {
    let changed = Fate::Changed {
        objects,
        over: 0,
        untried: 0,
        notes: vec!["hooks are not tried".to_owned()],
    };
    Plan {
        head: "a".repeat(40),
        base: "b".repeat(40),
        target: "main".to_owned(),
        syncs: vec![
            ("shop".to_owned(), changed),
            ("still".to_owned(), Fate::Untouched),
            ("bad".to_owned(), Fate::Broken("kind: [".to_owned())),
        ],
    }
}

const HEADER: Header<'_> = Header {
    marker: "<!-- m -->",
    repository: "team/shop",
    cluster: "eu-1",
};

#[test]
fn a_comment_says_everything() {
    let plan = plan(vec![
        object("new", Action::Create, "+ data.a: 1\n"),
        object("gone", Action::Delete, ""),
        object(
            "kept",
            Action::Release("its annotation keeps it".to_owned()),
            "",
        ),
        object(
            "bad",
            Action::Refuse("no such field".to_owned()),
            "+ x: 1\n",
        ),
    ]);
    assert_eq!(
        plan.line(0),
        "1 to create, 1 to prune, 1 to release, 1 refused, 1 not rendered in 2 of 3 Syncs"
    );
    assert!(plan.touches() && plan.is_refused());
    let text = plan.comment(&HEADER, 60_000).text;
    for part in [
        "<!-- m -->\n### towline: plan for `team/shop` on `eu-1`\n",
        "Commit <code>aaaaaaaaaaaa</code> was compared with <code>bbbbbbbbbbbb</code>",
        "#### `shop`: 1 to create, 1 to prune, 1 to release, 1 refused\n",
        "<details><summary>+ create <code>ConfigMap a/new</code> (<code>a.yaml</code>)</summary>\n\n```diff\n+ data.a: 1\n```\n",
        "- prune <code>ConfigMap a/gone</code>",
        "```text\nno such field\n```",
        "```text\nhooks are not tried\n```",
        "#### `bad`: cannot be rendered\n\n```text\nkind: [\n```",
        "Not touched: `still`\n",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let nothing = Plan::default();
    assert!(!nothing.touches() && !nothing.is_refused());
}

#[test]
fn a_kind_that_nothing_brings_is_no_success() {
    let kind = |version| GroupVersionKind::parse(version, "Widget").unwrap();
    for (defined, line, sign, is_refused) in [
        (
            &[][..],
            "1 not served by the cluster, not tried in 1 of 1 Syncs",
            "! not served by the cluster, not tried: ",
            true,
        ),
        (
            &["example.com/v1"],
            "1 not served by the cluster, not tried in 1 of 1 Syncs",
            "! not served by the cluster, not tried: ",
            true,
        ),
        (
            &["example.com/v1", "example.com/v2"],
            "1 to create in 1 of 1 Syncs",
            "+ create ",
            false,
        ),
    ] {
        let mut object = object("new", Action::Unserved("no such kind".to_owned()), "");
        object.unserved = Some(Arc::new(kind("example.com/v2")));
        let mut plan = plan(vec![object]);
        plan.syncs.truncate(1);
        let defined = defined.iter().map(|version| kind(version)).collect();
        let objects = plan.syncs[0].1.objects();
        objects
            .iter_mut()
            .for_each(|object| object.settle(&defined));
        assert_eq!((&*plan.line(0), plan.is_refused()), (line, is_refused));
        let text = plan.comment(&HEADER, 60_000).text;
        let named = format!("{sign}<code>ConfigMap a/new</code>");
        assert!(text.contains(&named), "{named} is not in {text}");
        assert_eq!(text.contains("```text\nno such kind\n```"), is_refused);
    }
}

#[test]
fn what_was_not_tried_comes_first() {
    let mut plan = plan(vec![object("new", Action::Create, "+ data.a: 1\n")]);
    plan.syncs.pop();
    assert!(plan.is_whole() && !plan.is_refused());
    if let (_, Fate::Changed { untried, .. }) = &mut plan.syncs[0] {
        *untried = 20;
    }
    assert!(!plan.is_whole() && !plan.is_refused());
    assert_eq!(
        plan.line(0),
        "not all was tried out: 20 not tried out, 1 to create in 1 of 2 Syncs"
    );
    let why = "it cannot be rendered, with and without this request".to_owned();
    plan.syncs = vec![("odd".to_owned(), Fate::Unplanned(why))];
    assert!(!plan.is_whole() && !plan.is_refused() && plan.touches());
    assert_eq!(
        plan.line(0),
        "not all was tried out: 1 not planned in 1 of 1 Syncs"
    );
    let text = plan.comment(&HEADER, 60_000).text;
    assert!(
        text.contains("#### `odd`: not planned\n\n```text\nit cannot be"),
        "{text}"
    );
}

#[test]
fn a_hostile_author_writes_no_markdown() {
    let evil = "</code></summary>![x](http://evil/p.png)\n@everyone `` <script>";
    let mut object = object(
        evil,
        Action::Refuse(evil.to_owned()),
        "+ a: ```\n+ b: ````` @x\n",
    );
    object.file = Some(evil.to_owned());
    let mut plan = plan(vec![object]);
    plan.target = evil.to_owned();
    plan.syncs
        .push(("x".to_owned(), Fate::Broken(evil.to_owned())));
    let text = plan.comment(&HEADER, 60_000).text;
    let mut fence: Option<String> = None;
    for line in text.lines() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        match &fence {
            None if ticks.len() >= 3 => fence = Some(ticks),
            Some(open) if line == open.as_str() => fence = None,
            Some(_) => (),
            None => assert!(!line.contains("![x]") && !line.contains("@ev"), "{line}"),
        }
    }
    assert_eq!(fence, None, "every fence is closed: {text}");
    assert!(
        !text.contains("<script>") || text.contains("``````diff"),
        "{text}"
    );
}

#[test]
fn a_comment_fits() {
    let many = (0..5_000).map(|number| {
        object(
            &number.to_string(),
            Action::Change,
            &"- a: 1\n+ a: 2\n".repeat(9),
        )
    });
    let mut plan = plan(many.collect());
    let still = (0..5_000).map(|number| (format!("sync-{number}"), Fate::Untouched));
    plan.syncs.extend(still);
    for longest in [5_000, 60_000] {
        let text = plan.comment(&HEADER, longest).text;
        assert!(text.len() <= longest, "{}", text.len());
        assert!(
            text.contains("more objects, for which there is no room**"),
            "{text}"
        );
        assert!(text.ends_with(" more\n"), "{text}");
    }
}

/// A request may hide what grants rights among very many other objects.
#[test]
fn what_reaches_farthest_is_named_first_and_a_flood_is_no_success() {
    let flood = |count: usize| -> Vec<ObjectPlan> {
        let one =
            |number: usize| object(&number.to_string(), Action::Create, &"+ a: 1\n".repeat(9));
        (0..count).map(one).collect()
    };
    let mut binding = object("binding", Action::Create, "+ roleRef.name: \"admin\"\n");
    binding.reach = Reach::Rights;
    let mut plan = plan(flood(1_000));
    let late = Fate::Changed {
        objects: vec![binding],
        over: 0,
        untried: 0,
        notes: Vec::new(),
    };
    plan.syncs = vec![plan.syncs.swap_remove(0), ("z".to_owned(), late)];
    let Written { text, left } = plan.comment(&HEADER, 5_000);
    assert!(text.len() <= 5_000);
    let named = text.find("a/binding").unwrap();
    assert!(text.contains("roleRef.name"), "{text}");
    assert!(named < text.find("a/0<").unwrap(), "{text}");
    assert!(text.contains("a/0</code>") && left > 900, "{left}");
    assert_eq!(plan.course(left), Course::Partial);
    let line = plan.line(left);
    let said = format!(
        "**too large, split the request: {left} not in the comment; 1001 to create in 2 of 2 Syncs**"
    );
    assert!(text.contains(&said) && said.contains(&line), "{text}");
    // What has no room for its fields is no success either.
    plan.syncs = vec![(
        "a".to_owned(),
        Fate::Changed {
            objects: flood(20),
            over: 0,
            untried: 0,
            notes: Vec::new(),
        },
    )];
    let Written { text, left } = plan.comment(&HEADER, 3_500);
    assert!(
        text.contains(", for whose fields there is no room"),
        "{text}"
    );
    assert!(
        left > 0 && left < 20 && plan.course(left) == Course::Partial,
        "{left}"
    );
    let Written { left, .. } = plan.comment(&HEADER, 60_000);
    assert_eq!((left, plan.course(left)), (0, Course::Live));
    // Nor is what is in the comment in part: what grants most may stand last.
    let objects = plan.syncs[0].1.objects();
    objects[3].fields.is_cut = true;
    let Written { left, .. } = plan.comment(&HEADER, 60_000);
    assert_eq!((left, plan.course(left)), (1, Course::Partial));
    plan.syncs[0].1.objects()[3].fields.is_cut = false;
    // What was not tried out is not there to be named.
    if let Fate::Changed { over, .. } = &mut plan.syncs[0].1 {
        *over = 7;
    }
    assert_eq!(plan.course(0), Course::Partial);
    for (left, said) in [
        (
            0,
            "too large, split the request: 7 not tried out; 20 to create in 1 of 1 Syncs",
        ),
        (
            2,
            "too large, split the request: 7 not tried out, 2 not in the comment; 20 to create in 1 of 1 Syncs",
        ),
    ] {
        assert_eq!(plan.line(left), said);
    }
}
