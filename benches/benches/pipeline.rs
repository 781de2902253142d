//! What the plugin chain costs when nothing is wrong: a live session on the default route.
//!
//! No sockets, so a change of a number is a change of our own code. Run by hand:
//! `cargo bench --package doorward-benches --bench pipeline`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot run should stop")]

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use doorward_config::{GatewayConfig, Secret};
use doorward_plugins::administration::{AccountChange, Request};
use doorward_plugins::password_check::Guesser;
use doorward_plugins::sign_in::{Credentials, Entered, Origin};
use doorward_plugins::{Client, Clock, RequestContext, RequestId, Services, pipeline};

const PASSWORD: &str = "correct horse battery staple";

/// Services over a fresh folder, with a session of alice; gives its token.
async fn sign_in(folder: &std::path::Path) -> (Services, Secret) {
    let text = "public_url = \"https://console.example.com\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                [upstream.console]\naddress = \"http://127.0.0.1:9\"\n[store]\npath = \"a.db\"\n";
    let config = GatewayConfig::parse(text, folder).unwrap();
    let services = Services::open(Arc::new(config), Clock::machine()).await.unwrap();
    let change = AccountChange { groups: Some(vec!["staff".into()]), ..AccountChange::default() };
    let add = Request::AccountAdd {
        name: "alice".into(),
        password: PASSWORD.into(),
        change: Box::new(change),
    };
    services.administration.execute(add).await.unwrap();
    let credentials = Credentials {
        account: "alice".into(),
        sub_user: String::new(),
        password: Secret::new(PASSWORD.into()),
    };
    let origin = Origin {
        scope: "console.example.com",
        device: "bench",
        guesser: Guesser {
            address: IpAddr::from([192, 0, 2, 1]),
            device_cookie: None,
            captcha_solved: false,
            request_id: "1",
        },
        session: None,
    };
    let Entered::SignedIn(signed_in) =
        services.sign_in.attempt(&credentials, origin).await.unwrap()
    else {
        panic!("nobody here needs a second factor");
    };
    let token = signed_in.token;
    (services, token)
}

fn context(services: &Services, cookie: Option<&str>) -> RequestContext {
    let mut request = http::Request::get("/api/orders?page=2")
        .header("host", "console.example.com")
        .header("accept", "application/json")
        .header("user-agent", "bench");
    if let Some(cookie) = cookie {
        request = request.header("cookie", cookie);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let client =
        Client { address: IpAddr::from([192, 0, 2, 1]), peer, trusted_peer: false, secure: true };
    let route = Arc::new(services.config.routes.last().unwrap().clone());
    let mut cx =
        RequestContext::new(head, client, route, RequestId::new(1, 2), services.clock.now());
    (cx.host, cx.upstream) = ("console.example.com".into(), Some(0));
    cx
}

fn chain(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("doorward-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (services, token) = runtime.block_on(sign_in(&folder));
    let chain = pipeline(&services);
    let cookie = format!("__Host-doorward={}", token.expose());
    let among_others = format!("theme=dark; {cookie}; lang=en");

    let mut group = criterion.benchmark_group("pipeline");
    for (name, cookie) in [
        ("live_session", Some(&*cookie)),
        ("live_session_among_cookies", Some(&*among_others)),
        ("stranger", None),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || context(&services, cookie),
                |mut cx| black_box(runtime.block_on(chain.on_request(&mut cx))),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
    std::fs::remove_dir_all(&folder).unwrap();
}

criterion_group!(benches, chain);
criterion_main!(benches);
