// Lets a single-page console live with a gate that asks for a second factor. In the console's page:
//
//   <script type="module">
//     import { install } from "/.doorward/step-up.js";
//     install();
//   </script>
//
// From then on `fetch` behaves as before, but for answers of the gate that ask for something: then a
// dialog asks for it, and the call is repeated, once, with the same body. A person who gives up gets
// the gate's answer, which the console treats as any refusal. `stepUpFetch` does the same for one
// call, for consoles that leave `fetch` alone.

const WORDS = {
  en: {
    title: "Approve this operation", operation: "Operation", request: "Request", once: "Your approval holds for exactly this request, once.",
    totp: "Six-digit code from your app", "text-message": "Six-digit code from the text message", "recovery-code": "Recovery code", password: "Password",
    approve: "Approve", cancel: "Cancel", send: "Send me a code", key: "Use a security key or passkey", other: "Use another way",
    wrong: "That is not right, or the code was used before.", sent: "A code is on its way.", later: "There was a code a moment ago. Try again in a minute.",
    failed: "This did not work. Try again, or use another way.", over: "This took too long, or there were too many wrong codes. Try the operation again.",
    ended: "Your session has ended", again: "Sign in again in the window that opens, and come back. Nothing is lost here.", signIn: "Sign in", goOn: "Go on",
  },
  zh: {
    title: "确认此操作", operation: "操作", request: "请求", once: "此次确认仅对该请求有效，且仅一次。",
    totp: "验证器应用中的 6 位验证码", "text-message": "短信中的 6 位验证码", "recovery-code": "恢复码", password: "密码",
    approve: "确认", cancel: "取消", send: "发送验证码", key: "使用安全密钥或通行密钥", other: "使用其他方式",
    wrong: "验证码不正确，或已被使用。", sent: "验证码已发送。", later: "发送过于频繁，请一分钟后重试。",
    failed: "未能完成，请重试或使用其他方式。", over: "操作超时，或错误次数过多，请重新操作。",
    ended: "会话已结束", again: "请在打开的窗口中重新登录，然后返回。此处的内容不会丢失。", signIn: "登录", goOn: "继续",
  },
};

const STYLE = `
  dialog { font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; width: calc(100% - 2rem); padding: 1.5rem; border: 1px solid #8b96a5; border-radius: .75rem; color: #1b2430; background: #fff; }
  dialog::backdrop { background: rgb(0 0 0 / .5); }
  h2 { margin: 0 0 1rem; font-size: 1.25rem; }
  dl { margin: 0 0 1rem; } dt { color: #56616f; font-size: .9rem; } dd { margin: 0 0 .5rem; overflow-wrap: anywhere; font-weight: 600; }
  label { display: block; font-weight: 600; } input { box-sizing: border-box; width: 100%; padding: .625rem .75rem; font: inherit; border: 1px solid #8b96a5; border-radius: .5rem; }
  button { margin: .75rem .5rem 0 0; padding: .6rem 1rem; min-height: 2.75rem; font: inherit; font-weight: 600; border: 1px solid #8b96a5; border-radius: .5rem; color: #1d4ed8; background: transparent; cursor: pointer; }
  button.main { color: #fff; background: #1d4ed8; } :focus-visible { outline: 3px solid #1d4ed8; outline-offset: 2px; }
  [role=alert]:not(:empty) { color: #b3261e; } [role=status]:not(:empty) { color: #166534; }
  @media (prefers-color-scheme: dark) {
    dialog { color: #e8ecf2; background: #1a2029; } dt { color: #a9b4c2; } input { color: inherit; background: #10141a; }
    button { color: #8ab4ff; } button.main { color: #0c1a33; background: #8ab4ff; } [role=alert]:not(:empty) { color: #ffb4ab; } [role=status]:not(:empty) { color: #7ddc9f; }
  }`;

const plainFetch = globalThis.fetch.bind(globalThis);
const words = () => WORDS[(document.documentElement.lang || navigator.language).startsWith("zh") ? "zh" : "en"];

/** An element with text or children. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Opens a dialog with this content; `fill` gets what closes it with a result. */
function open(fill) {
  return new Promise((resolve) => {
    const host = make("div");
    const root = host.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style];
    const dialog = make("dialog", { "aria-labelledby": "title" });
    const close = (result) => { host.remove(); resolve(result); };
    dialog.addEventListener("cancel", () => close(false));
    root.append(dialog);
    document.body.append(host);
    fill(dialog, close);
    dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
  });
}

async function call(path, body) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  return plainFetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

/** Asks the person to approve; true if they did. */
async function approve(api, challenge) {
  const found = await call(api);
  if (!found.ok) return false;
  const asked = await found.json();
  const w = words();
  return open((dialog, close) => {
    const alert = make("p", { role: "alert" });
    const status = make("p", { role: "status" });
    const give = async (way, code) => {
      alert.textContent = status.textContent = "";
      const answer = await call(api, { way, code });
      if (answer.ok) return close(true);
      if (answer.status === 410 || answer.status === 401) { alert.textContent = w.over; return undefined; }
      alert.textContent = answer.status === 403 ? w.wrong : w.failed;
      return undefined;
    };
    const useKey = async () => {
      const { answerOf } = await import("/.doorward/webauthn.js");
      const options = await call("/.doorward/api/v1/webauthn/options", { step_up: challenge });
      if (!options.ok) throw new Error(String(options.status));
      await give("webauthn", JSON.stringify(await answerOf(await options.json())));
    };
    const guarded = (work) => () => work().catch(() => { alert.textContent = w.failed; });
    const show = (way) => {
      const others = asked.ways.filter((one) => one !== way);
      const input = make("input", { id: "code", name: "code", required: "", autocomplete: way === "password" ? "current-password" : "one-time-code", autofocus: "", spellcheck: "false" });
      if (way === "password") input.type = "password";
      else if (way !== "recovery-code") input.inputMode = "numeric";
      const facts = make("dl");
      if (asked.label) facts.append(make("dt", {}, w.operation), make("dd", {}, asked.label));
      facts.append(make("dt", {}, w.request), make("dd", {}, `${asked.method} ${asked.path}`));
      for (const { name, value } of asked.fields) facts.append(make("dt", {}, name), make("dd", {}, value));
      const form = make("form", { onsubmit: (event) => { event.preventDefault(); guarded(() => (way === "webauthn" ? useKey() : give(way, input.value)))(); } });
      if (way !== "webauthn") form.append(make("label", { for: "code" }, w[way]), input);
      form.append(make("button", { class: "main", ...(way === "webauthn" ? { autofocus: "" } : {}) }, way === "webauthn" ? w.key : w.approve));
      if (way === "text-message") {
        form.append(make("button", { type: "button", onclick: guarded(async () => {
          const sent = await call(`${api}/send`, {});
          status.textContent = sent.ok ? w.sent : "";
          alert.textContent = sent.ok ? "" : sent.status === 429 ? w.later : w.failed;
        }) }, w.send));
      }
      for (const other of others) {
        form.append(make("button", { type: "button", onclick: () => show(other) }, other === "webauthn" ? w.key : `${w.other}: ${w[other]}`));
      }
      form.append(make("button", { type: "button", onclick: () => close(false) }, w.cancel));
      dialog.replaceChildren(make("h2", { id: "title" }, w.title), facts);
      if (asked.once) dialog.append(make("p", {}, w.once));
      dialog.append(alert, status, form);
      dialog.querySelector("[autofocus]")?.focus();
    };
    show(asked.ways[0]);
  });
}

/** Asks the person to sign in again, in another window; true when they say that they have. */
function signInAgain(url) {
  const w = words();
  return open((dialog, close) => {
    const signIn = make("button", { type: "button", class: "main", autofocus: "", onclick: () => window.open(url, "_blank", "noopener") }, w.signIn);
    const goOn = make("button", { type: "button", onclick: () => close(true) }, w.goOn);
    const cancel = make("button", { type: "button", onclick: () => close(false) }, w.cancel);
    dialog.append(make("h2", { id: "title" }, w.ended), make("p", {}, w.again), signIn, goOn, cancel);
  });
}

/** What the gate asks for, if this is its answer and it asks for anything. */
async function demandOf(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  if (answer.status !== 401 || !kind.startsWith("application/problem+json")) return null;
  const problem = await answer.clone().json().catch(() => ({}));
  if (problem.type === "urn:doorward:problem:step-up-required" && problem.challenge) {
    return () => approve(problem.step_up_api, problem.challenge);
  }
  if (problem.type === "urn:doorward:problem:session-required") {
    return () => signInAgain(`${problem.sign_in_url}?return_to=%2F.doorward%2Faccount`);
  }
  return null;
}

// One dialog at a time: calls that are refused together wait for each other.
let turn = Promise.resolve();

/** `fetch`, which asks the person for what the gate asks for, and then repeats the call. */
export async function stepUpFetch(input, init) {
  const request = new Request(input, init);
  // Before it is sent: afterwards its body is gone.
  const [second, third] = [request.clone(), request.clone()];
  const first = await plainFetch(request);
  if (!(await demandOf(first))) return first;
  const done = turn.then(async () => {
    // What somebody approved for another call meanwhile may be enough for this one.
    const again = await plainFetch(second);
    const demand = await demandOf(again);
    if (!demand) return again;
    return (await demand()) ? plainFetch(third) : again;
  });
  turn = done.catch(() => {});
  return done;
}

/** Puts `stepUpFetch` in the place of `fetch`. */
export function install() {
  globalThis.fetch = stepUpFetch;
}
