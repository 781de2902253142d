//! SIGHUP and `doorward reload`, as an operator sees them.

use std::path::Path;

use doorward_tests::process::{self, Served};
use doorward_tests::{Browser, PUBLIC_HOST, Scratch, Upstream, eventually};
use http::StatusCode;

fn rewrite(config: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(config, text.replace(from, to)).unwrap();
}

/// Exit code, standard output and standard error of `doorward reload`.
async fn reload(config: &Path) -> (Option<i32>, String, String) {
    let config = config.to_str().unwrap().to_owned();
    let command = move || process::run(&["reload", "--config", &config], "");
    let output = tokio::task::spawn_blocking(command).await.unwrap();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn o09_the_command_swaps_says_what_happened_and_a_bad_file_ends_with_64() {
    let (scratch, upstream) = (Scratch::new(), Upstream::start().await);
    let config = process::configure(scratch.path(), &upstream.address, "");
    let (code, _, stderr) = reload(&config).await;
    assert!(code == Some(74) && stderr.contains("no gate answers at"), "{stderr}");
    let served = Served::start(&config);
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}[[route]]\naccess = \"public\"\n")).unwrap();
    assert_eq!(reload(&config).await, (Some(0), "reloaded\n".into(), String::new()));
    assert_eq!(browser.get("/").await.status, StatusCode::OK);

    rewrite(&config, "\"public\"", "\"everybody\"");
    let (code, _, stderr) = reload(&config).await;
    assert!(code == Some(64) && stderr.contains("route[1].access:"), "{stderr}");
    rewrite(&config, "\"everybody\"", "\"public\"");
    // Good by itself, and not for a gate that runs: only the gate can tell.
    rewrite(&config, "workers = 1", "bogus = 1\nworkers = 3");
    rewrite(&config, "bogus = 1\n", "");
    let (code, _, stderr) = reload(&config).await;
    assert!(code == Some(64) && stderr.contains("2:11: workers: is not what"), "{stderr}");
    assert!(stderr.contains("Restart") && stderr.contains("goes on as it was"), "{stderr}");
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn o09_sighup_reads_the_file_again_and_what_came_of_it_is_logged() {
    let (scratch, upstream) = (Scratch::new(), Upstream::start().await);
    let public = "[[route]]\naccess = \"public\"\n";
    let config = process::configure(scratch.path(), &upstream.address, public);
    let served = Served::start(&config);
    let mut browser = Browser::new(served.address, PUBLIC_HOST, None);
    let mut log = Vec::new();
    let mut logged = async |wanted: &[&str]| {
        eventually("the line in the log", async || {
            log.extend(served.log());
            log.iter().any(|line| wanted.iter().all(|part| line.contains(part)))
        })
        .await;
    };
    rewrite(&config, "\"public\"", "\"everybody\"");
    served.signal("HUP");
    logged(&["\"config_problem\"", "doorward.toml:", "route[1].access"]).await;
    logged(&["sys_config_refused"]).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    rewrite(&config, "access = \"everybody\"\n", "");
    served.signal("HUP");
    logged(&["sys_config_reloaded"]).await;
    assert_eq!(browser.get("/").await.status, StatusCode::UNAUTHORIZED);
    rewrite(&config, "[operations]", "[operations]\nlog_level = \"debug\"");
    assert_eq!(reload(&config).await.0, Some(0));
    browser.get_with("/", &[("remote-user", "root")]).await;
    logged(&["\"DEBUG\"", "identity fields of a client removed"]).await;
}
