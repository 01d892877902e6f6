use super::*;
use crate::message::service::destination::tests::{intent, secret};

fn to(service: Service, address: Option<&str>, hosts: &[&str]) -> Destination {
    let mut intent = intent(service, address);
    intent.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
    Destination::new(&intent, Some(&secret(&[("token", "t0ken")]))).unwrap()
}

fn status(course: Course, text: &str) -> CommitStatus {
    CommitStatus {
        commit: "c0".to_owned(),
        course,
        name: "towline/eu-1/prod/shop".to_owned(),
        text: text.to_owned(),
        url: None,
    }
}

#[test]
fn a_status_with_a_page_links_to_it_at_each_host() {
    use Service::{AzureDevOps, Bitbucket, BitbucketServer, GitHub, GitLab, Gitea};
    let page = "https://git.example/docs/operate/reasons.md#applyfailed";
    for (service, address, (host, path), field) in [
        (GitHub, None, ("github.com", "a/b"), "target_url"),
        (
            Gitea,
            Some("https://git.corp"),
            ("git.corp", "a/b"),
            "target_url",
        ),
        (GitLab, None, ("gitlab.com", "a/b"), "target_url"),
        (Bitbucket, None, ("bitbucket.org", "a/b"), "url"),
        (
            BitbucketServer,
            Some("https://git.corp"),
            ("git.corp", "scm/a/b"),
            "url",
        ),
        (
            AzureDevOps,
            None,
            ("dev.azure.com", "o/p/_git/b"),
            "targetUrl",
        ),
    ] {
        let body = |url: Option<&str>| -> Value {
            let mut status = status(Course::Failed, "ApplyFailed: no");
            status.url = url.map(str::to_owned);
            let to = to(service, address, &[]);
            let request = status_request(&status, Some(&at(host, path)), &to).unwrap();
            serde_json::from_slice(&request.body).unwrap()
        };
        assert_eq!(body(Some(page))[field], page, "{service:?}");
        // Bitbucket wants a link in each status, and a long one is refused elsewhere.
        let long = format!("https://git.example/{}", "a".repeat(300));
        for url in [None, Some(&*long)] {
            let body = body(url);
            match field {
                "url" => assert_ne!(body[field], *page),
                _ => assert_eq!(body.get(field), None, "{service:?}"),
            }
        }
    }
}

fn at(host: &str, path: &str) -> Repository {
    Repository {
        host: host.to_owned(),
        path: path.to_owned(),
    }
}

#[test]
fn the_address_of_the_api_follows_from_the_provider_and_the_repository() {
    use Service::{AzureDevOps, Bitbucket, BitbucketServer, GitHub, GitLab, Gitea};
    for (service, address, (host, path), url) in [
        (
            GitHub,
            None,
            ("github.com", "/a/b.git"),
            "https://api.github.com/repos/a/b/statuses/c0",
        ),
        (
            GitHub,
            Some("https://api.github.com"),
            ("ssh.github.com", "a/b.git"),
            "https://api.github.com/repos/a/b/statuses/c0",
        ),
        (
            GitHub,
            Some("https://github.com/a/other"),
            ("github.com", "a/b"),
            "https://api.github.com/repos/a/b/statuses/c0",
        ),
        (
            GitHub,
            Some("https://corp.ghe.com"),
            ("corp.ghe.com", "a/b"),
            "https://api.corp.ghe.com/repos/a/b/statuses/c0",
        ),
        (
            GitHub,
            Some("https://git.corp:8443"),
            ("git.corp", "/a/b"),
            "https://git.corp:8443/api/v3/repos/a/b/statuses/c0",
        ),
        (
            GitHub,
            Some("https://git.corp/api/v3/"),
            ("git.corp", "/a/b"),
            "https://git.corp/api/v3/repos/a/b/statuses/c0",
        ),
        (
            GitLab,
            None,
            ("gitlab.com", "/g/s/b.git"),
            "https://gitlab.com/api/v4/projects/g%2Fs%2Fb/statuses/c0",
        ),
        (
            GitLab,
            Some("https://corp/gitlab"),
            ("corp", "/gitlab/g/b.git"),
            "https://corp/gitlab/api/v4/projects/g%2Fb/statuses/c0",
        ),
        (
            GitLab,
            Some("https://corp/gitlab"),
            ("corp", "g/b.git"),
            "https://corp/gitlab/api/v4/projects/g%2Fb/statuses/c0",
        ),
        (
            Gitea,
            Some("http://gitea:3000/a/b"),
            ("gitea", "/a/b.git"),
            "http://gitea:3000/api/v1/repos/a/b/statuses/c0",
        ),
        (
            Bitbucket,
            None,
            ("altssh.bitbucket.org", "w/b.git"),
            "https://api.bitbucket.org/2.0/repositories/w/b/commit/c0/statuses/build",
        ),
        (
            Bitbucket,
            Some("https://bitbucket.org/w/other"),
            ("bitbucket.org", "/w/b"),
            "https://api.bitbucket.org/2.0/repositories/w/b/commit/c0/statuses/build",
        ),
        (
            BitbucketServer,
            Some("https://corp/bitbucket"),
            ("corp", "/bitbucket/scm/PRJ/b.git"),
            "https://corp/bitbucket/rest/api/latest/projects/PRJ/repos/b/commits/c0/builds",
        ),
        (
            BitbucketServer,
            Some("https://corp"),
            ("corp", "/scm/scm/b.git"),
            "https://corp/rest/api/latest/projects/scm/repos/b/commits/c0/builds",
        ),
        (
            BitbucketServer,
            Some("https://corp"),
            ("corp", "/scm/b.git"),
            "https://corp/rest/api/latest/projects/scm/repos/b/commits/c0/builds",
        ),
        (
            BitbucketServer,
            Some("https://corp:8443"),
            ("corp", "/~me/b.git"),
            "https://corp:8443/rest/api/latest/projects/~me/repos/b/commits/c0/builds",
        ),
        (
            AzureDevOps,
            None,
            ("dev.azure.com", "/o/My%20P/_git/b"),
            "https://dev.azure.com/o/My%20P/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            Some("https://dev.azure.com/o/p/_git/other"),
            ("ssh.dev.azure.com", "v3/o/p/b"),
            "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            None,
            ("ssh.dev.azure.com", "v3/o/P\u{fc} 1/b"),
            "https://dev.azure.com/o/P%C3%BC%201/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            None,
            ("dev.azure.com", "/o/_git/b"),
            "https://dev.azure.com/o/b/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            None,
            ("o.visualstudio.com", "/DefaultCollection/p/_git/b"),
            "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            None,
            ("o.visualstudio.com", "/DefaultCollections/_git/b"),
            "https://dev.azure.com/o/DefaultCollections/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            None,
            ("vs-ssh.visualstudio.com", "v3/o/p/b"),
            "https://dev.azure.com/o/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
        (
            AzureDevOps,
            Some("https://tfs.corp/tfs"),
            ("tfs.corp", "/tfs/c/p/_git/b"),
            "https://tfs.corp/tfs/c/p/_apis/git/repositories/b/commits/c0/statuses?api-version=7.1",
        ),
    ] {
        let to = to(service, address, &[]);
        let request = status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
        assert_eq!(request.unwrap().url, url, "{address:?}");
    }
}

#[test]
fn a_repository_of_another_host_gets_no_status() {
    let to = to(Service::GitHub, None, &["git.mirror"]);
    let try_at = |host, path| status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
    assert!(try_at("git.mirror", "a/b").is_ok());
    let error = try_at("github.com.evil", "a/b").unwrap_err().to_string();
    assert!(error.contains("on github.com.evil"), "{error}");
    for path in [
        "a",
        "a/b/c",
        "a/..",
        "a/b?x",
        "",
        "a//b",
        "a/b c",
        "a/b\u{e9}",
        "a/b\n",
        "a/<b>",
        "a/b|c",
        "a/b\"",
    ] {
        let error = try_at("github.com", path).unwrap_err();
        assert_eq!(error, NotReportable::Path { form: "owner/name" }, "{path}");
    }
    let none = status_request(&status(Course::Live, ""), None, &to);
    assert_eq!(none, Err(NotReportable::NoHost));
}

#[test]
fn a_path_of_another_form_is_refused() {
    for (service, host, path) in [
        (Service::GitLab, "gitlab.com", "b"),
        (Service::Bitbucket, "bitbucket.org", "a/b/c"),
        (Service::AzureDevOps, "dev.azure.com", "o/p/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/p/_git/a/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/p%2F/_git/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/../_git/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/%2e%2E/_git/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/p%5cq/_git/b"),
        (Service::AzureDevOps, "dev.azure.com", "o/p%0a/_git/b"),
    ] {
        let to = to(service, None, &[]);
        let request = status_request(&status(Course::Live, ""), Some(&at(host, path)), &to);
        assert!(matches!(request, Err(NotReportable::Path { .. })), "{path}");
    }
    let to = to(Service::AzureDevOps, None, &[]);
    let evil = at("evil-visualstudio.com", "o/p/_git/b");
    let request = status_request(&status(Course::Live, ""), Some(&evil), &to);
    assert!(matches!(request, Err(NotReportable::OtherHost { .. })));
}

/// What was looked at in part is neither good nor bad, where the host has a word for that. Elsewhere it is not good.
#[test]
fn each_host_has_a_state_for_each_course() {
    use Service::{AzureDevOps, Bitbucket, BitbucketServer, GitHub, GitLab, Gitea};
    let courses = [
        Course::Pending,
        Course::Live,
        Course::Partial,
        Course::Failed,
    ];
    for (service, (host, path), states) in [
        (
            GitHub,
            ("github.com", "/a/b"),
            ["pending", "success", "failure", "failure"],
        ),
        (
            GitLab,
            ("gitlab.com", "/a/b"),
            ["pending", "success", "failed", "failed"],
        ),
        (
            Gitea,
            ("gitea", "/a/b"),
            ["pending", "success", "warning", "failure"],
        ),
        (
            Bitbucket,
            ("bitbucket.org", "/a/b"),
            ["INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED"],
        ),
        (
            BitbucketServer,
            ("corp", "/scm/a/b"),
            ["INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED"],
        ),
        (
            AzureDevOps,
            ("dev.azure.com", "/o/p/_git/b"),
            ["pending", "succeeded", "failed", "failed"],
        ),
    ] {
        let address = match service {
            Gitea => Some("https://gitea"),
            BitbucketServer => Some("https://corp"),
            _ => None,
        };
        let to = to(service, address, &[]);
        for (course, state) in courses.into_iter().zip(states) {
            let request = status_request(&status(course, ""), Some(&at(host, path)), &to);
            let body: Value = serde_json::from_slice(&request.unwrap().body).unwrap();
            assert_eq!(body["state"], state, "{service:?} {course:?}");
        }
    }
}

#[test]
fn the_texts_are_within_the_limits_of_the_host() {
    let text = "a\nb\t\u{1f600} ".repeat(100);
    let body = github(&status(Course::Failed, &text), Service::GitHub);
    let description = body["description"].as_str().unwrap();
    assert!(description.chars().count() <= 140 && description.starts_with("a b ? a"));
    let long = format!("towline/eu/{}/{}", "n".repeat(63), "s".repeat(253));
    let (one, other) = (unique(&long, 255), unique(&format!("{long}x"), 255));
    assert!(one.len() == 255 && other.len() == 255 && one != other);
    assert_eq!(unique("towline/a/b/c", 40), "towline/a/b/c");
    let mut long = status(Course::GivenUp, "");
    long.name = format!("towline/eu/prod/{}", "s".repeat(60));
    let body = bitbucket(&long, Service::Bitbucket, "https://page");
    assert_eq!(body["key"].as_str().unwrap().len(), 40);
    assert_eq!(body["name"], json!(long.name));
    assert_eq!(body["state"], "STOPPED");
    let body = bitbucket(&long, Service::BitbucketServer, "https://page");
    assert_eq!(body["key"], json!(long.name));
    let body = azure(&long);
    assert_eq!(body["context"]["genre"], "towline");
}
