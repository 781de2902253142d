//! Clients and servers that nobody here wrote, through the gate: curl, nghttp, Python's requests and
//! websockets, and a browser with a WebSocket.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doorward_certs::development::DevelopmentCertificate;
use doorward_tests::process::prepared;
use doorward_tests::webdriver::Chromium;
use doorward_tests::{PASSWORD, PUBLIC_HOST, Setup, TestGate, Upstream, eventually};

/// A page with a WebSocket, and the WebSocket: it sends back what it gets.
const CONSOLE: &str = r#"
import asyncio, http
from websockets.asyncio.server import serve
PAGE = """<!doctype html><title>waiting</title><script>
const socket = new WebSocket('wss://' + location.host + '/socket');
socket.onopen = () => socket.send('hello');
socket.onmessage = event => document.title = event.data + ' over ' +
    performance.getEntriesByType('navigation')[0].nextHopProtocol;
socket.onclose = event => document.title = 'closed ' + event.code;
</script>"""
def page(connection, request):
    if 'Upgrade' in request.headers:
        return None
    response = connection.respond(http.HTTPStatus.OK, PAGE)
    del response.headers['Content-Type']
    response.headers['Content-Type'] = 'text/html'
    return response
async def echo(socket):
    async for message in socket:
        await socket.send(message)
async def main():
    async with serve(echo, '127.0.0.1', 0, process_request=page, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"#;

/// Signs in, talks through a WebSocket, signs out, and is told so.
const CLIENT: &str = r#"
import asyncio, os, ssl, sys, requests
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
base, ca, password = sys.argv[1], sys.argv[2], sys.stdin.readline().strip()
session = requests.Session()
# No bundle of the machine's may stand in for ours.
session.trust_env, session.verify = False, ca
assert session.get(base + '/page').status_code == 401
signed = session.post(base + '/.doorward/api/v1/sign-in', json={'account': 'alice', 'password': password})
assert signed.status_code == 200, signed.text
assert 'waiting' in session.get(base + '/page').text
cookie = '; '.join(f'{c.name}={c.value}' for c in session.cookies)
context = ssl.create_default_context(cafile=ca)
async def main():
    address = base.replace('https', 'wss') + '/socket'
    try:
        async with connect(address, ssl=context, origin=base):
            assert False, 'a stranger got in'
    except InvalidStatus as refused:
        assert refused.response.status_code == 401, refused
    fields = {'Cookie': cookie}
    async with connect(address, ssl=context, origin=base, additional_headers=fields, max_size=None) as socket:
        for message in ['hello', '\u4f60\u597d', os.urandom(1 << 20), b'']:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        out = await asyncio.to_thread(session.post, base + '/.doorward/api/v1/sign-out')
        assert out.ok, out.text
        try:
            await asyncio.wait_for(socket.recv(), 3)
            assert False, 'it goes on without a session'
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1008, closed
asyncio.run(main())
print('well')
"#;

/// A console in Python; killed when dropped.
struct Console {
    child: Child,
    port: u16,
}

impl Console {
    fn start() -> Self {
        let mut child = Command::new(prepared("DOORWARD_TEST_PYTHON"))
            .args(["-c", CONSOLE])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gate with TLS for `host`, to which websockets may be opened.
async fn gate(console: &Console, host: &str) -> TestGate {
    let scratch = doorward_tests::Scratch::new();
    DevelopmentCertificate::ensure(scratch.path(), &[PUBLIC_HOST, "localhost"]).unwrap();
    let folder = scratch.path().display();
    let gate = TestGate::with_config(&format!(
        "public_url = \"https://{host}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         tls = {{ chain_file = \"{folder}/chain.pem\", key_file = \"{folder}/key.pem\" }}\n\
         [upstream.console]\naddress = \"http://127.0.0.1:{}\"\n[store]\npath = \"doorward.db\"\n\
         [operations]\naddress = \"127.0.0.1:0\"\n[[route]]\npath = \"/socket\"\nupgrade = [\"websocket\"]\n",
        console.port
    ))
    .await;
    std::fs::copy(scratch.path().join("ca.pem"), gate.scratch.path().join("ca.pem")).unwrap();
    gate.add_alice().await;
    gate
}

#[tokio::test]
async fn d11_python_talks_through_a_websocket_until_it_signs_out() {
    let console = Console::start();
    let gate = gate(&console, "localhost").await;
    let base = format!("https://localhost:{}", gate.address().port());
    let mut child = Command::new(prepared("DOORWARD_TEST_PYTHON"))
        .args(["-c", CLIENT, &base])
        .arg(gate.scratch.path().join("ca.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), PASSWORD.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "well\n", "{}", told.get(told.len().saturating_sub(600)..).unwrap_or(&told));
}

#[tokio::test]
async fn a_browsers_page_over_http2_has_a_websocket_that_ends_with_its_session() {
    let console = Console::start();
    let gate = gate(&console, PUBLIC_HOST).await;
    let mut browser = Chromium::start().await;
    let url = format!("https://{PUBLIC_HOST}:{}/page", gate.address().port());
    browser.go(&url).await;
    browser.type_into("#account", "alice").await;
    browser.type_into("#password", PASSWORD).await;
    browser.click("button[type=submit]").await;
    let mut title = String::new();
    let mut wait = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..200 {
        title = browser.evaluate("document.title").await.as_str().unwrap_or_default().to_owned();
        if title.contains(" over ") {
            break;
        }
        wait.tick().await;
    }
    assert_eq!(title, "hello over h2");
    let sessions = gate.services().sessions.principal_ids();
    let held = gate.services().sessions.list(&sessions[0], gate.clock.now());
    gate.services().sessions.end(&held).await.unwrap();
    for _ in 0..100 {
        title = browser.evaluate("document.title").await.as_str().unwrap_or_default().to_owned();
        if title.starts_with("closed") {
            break;
        }
        wait.tick().await;
    }
    assert_eq!(title, "closed 1008");
}

/// Runs a program, which must succeed; its output.
async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (said, told) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{told}");
    format!("{said}{told}")
}

#[tokio::test]
async fn a07_curl_and_nghttp_ask_in_every_version() {
    let upstream = Upstream::start().await;
    let tables = "[[route]]\npath = \"/open/**\"\naccess = \"public\"\n";
    let tls = TestGate::start(&upstream, Setup { tls: true, tables, ..Setup::default() }).await;
    let plain =
        TestGate::start(&upstream, Setup { listener: "h2c = true", tables, ..Setup::default() })
            .await;
    let ca = tls.scratch.path().join("ca.pem");
    let file = tls.scratch.path().join("body");
    std::fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let (ca, upload) = (ca.to_str().unwrap(), format!("@{}", file.display()));
    let address = |gate: &TestGate| format!("{PUBLIC_HOST}:{}:127.0.0.1", gate.address().port());
    let url = |scheme: &str, gate: &TestGate, path: &str| {
        format!("{scheme}://{PUBLIC_HOST}:{}{path}", gate.address().port())
    };
    let says = "%{http_version} %{http_code} %{size_download}";
    for (version, told) in [("--http1.0", "1"), ("--http1.1", "1.1"), ("--http2", "2")] {
        for (path, code, size) in [("/open/a", 200, "5"), ("/shut", 401, "")] {
            let (resolve, url) = (address(&tls), url("https", &tls, path));
            let arguments = [
                "-s",
                "-o",
                "/dev/null",
                "-w",
                says,
                "--cacert",
                ca,
                "--resolve",
                &resolve,
                version,
                &url,
            ];
            let said = run("curl", &arguments).await;
            assert!(said.starts_with(&format!("{told} {code} {size}")), "{version} {path}: {said}");
        }
        let (resolve, url) = (address(&tls), url("https", &tls, "/open/upload"));
        let expect = "Expect: 100-continue";
        let arguments = [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            says,
            "--cacert",
            ca,
            "--resolve",
            &resolve,
            version,
            "-H",
            expect,
            "--data-binary",
            &upload,
            &url,
        ];
        let said = run("curl", &arguments).await;
        assert!(said.starts_with(&format!("{told} 200")), "{version}: {said}");
        assert_eq!(upstream.last().body.len(), 3_000_000);
    }
    let (resolve, url2) = (address(&plain), url("http", &plain, "/open/a"));
    let arguments = [
        "-s",
        "-o",
        "/dev/null",
        "-w",
        says,
        "--resolve",
        &resolve,
        "--http2-prior-knowledge",
        &url2,
    ];
    assert!(run("curl", &arguments).await.starts_with("2 200 5"));
    let direct = format!("https://127.0.0.1:{}/open/a", tls.address().port());
    let host = format!(":authority: {PUBLIC_HOST}");
    let said =
        run("nghttp", &["-n", "-s", "-m", "20", "-H", &host, "--no-verify-peer", &direct]).await;
    assert!(said.contains(" 200 ") || said.contains("200"), "{said}");
    eventually("all twenty", async || {
        upstream.requests().iter().filter(|request| request.line() == "GET /open/a").count() >= 20
    })
    .await;
    assert!(Path::new(ca).exists());
}
