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
    approve: "Approve", cancel: "Cancel", send: "Send me a code", use: { webauthn: "Use a security key or passkey", totp: "Use an authenticator app", "text-message": "Use a code by text message", "recovery-code": "Use a recovery code", password: "Use your password" },
    wrong: "That is not right, or the code was used before.", sent: "A code is on its way.", later: "There was a code a moment ago. Try again in a minute.",
    failed: "This did not work. Try again, or use another way.", over: "This took too long, or there were too many wrong codes. Try the operation again.",
    ended: "Your session has ended", again: "Sign in again in the window that opens, and come back. Nothing is lost here.", signIn: "Sign in", goOn: "Go on",
  },
  zh: {
    title: "确认此操作", operation: "操作", request: "请求", once: "此次确认仅对该请求有效，且仅一次。",
    totp: "验证器应用中的 6 位验证码", "text-message": "短信中的 6 位验证码", "recovery-code": "恢复码", password: "密码",
    approve: "确认", cancel: "取消", send: "发送验证码", use: { webauthn: "使用安全密钥或通行密钥", totp: "使用验证器应用", "text-message": "使用短信验证码", "recovery-code": "使用恢复码", password: "使用密码" },
    wrong: "验证码不正确，或已被使用。", sent: "验证码已发送。", later: "发送过于频繁，请一分钟后重试。",
    failed: "未能完成，请重试或使用其他方式。", over: "操作超时，或错误次数过多，请重新操作。",
    ended: "会话已结束", again: "请在打开的窗口中重新登录，然后返回。此处的内容不会丢失。", signIn: "登录", goOn: "继续",
  },
};

const STYLE = `
  dialog { box-sizing: border-box; font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; width: calc(100% - 2rem); padding: 1.5rem; border: 1px solid #8b96a5; border-radius: .75rem; color: #1b2430; background: #fff; }
  dialog::backdrop { background: rgb(0 0 0 / .5); }
  h2 { margin: 0 0 1rem; font-size: 1.25rem; }
  dl { margin: 0 0 1rem; } dt { color: #56616f; font-size: .9rem; } dd { margin: 0 0 .5rem; overflow-wrap: anywhere; font-weight: 600; }
  label { display: block; font-weight: 600; } input { box-sizing: border-box; width: 100%; padding: .625rem .75rem; font: inherit; border: 1px solid #8b96a5; border-radius: .5rem; }
  button { margin: .75rem .5rem 0 0; padding: .6rem 1rem; min-height: 2.75rem; font: inherit; font-weight: 600; border: 1px solid #8b96a5; border-radius: .5rem; color: #1d4ed8; background: transparent; cursor: pointer; }
  button.main { color: #fff; background: #1d4ed8; } :focus-visible { outline: 3px solid #1d4ed8; outline-offset: 2px; }
  [role=alert]:not(:empty) { color: #b3261e; } [role=status]:not(:empty) { color: #166534; }
  @media (prefers-color-scheme: dark) {
    dialog { color: #e8ecf2; background: #1a2029; } dt { color: #a9b4c2; } input { color: inherit; background: #10141a; }
:focus-visible { outline-color: #8ab4ff; }
    button { color: #8ab4ff; } button.main { color: #0c1a33; background: #8ab4ff; } [role=alert]:not(:empty) { color: #ffb4ab; } [role=status]:not(:empty) { color: #7ddc9f; }
  }`;

const plainFetch = globalThis.fetch.bind(globalThis);
const language = () => ((document.documentElement.lang || navigator.language).startsWith("zh") ? "zh" : "en");
const words = () => WORDS[language()];

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
    // Its own element and shadow, so that no style of the console's reaches it, nor of its the
    // console; a constructed style sheet, because policies forbid styles in pages.
    const host = make("doorward-step-up");
    const root = host.attachShadow({ mode: "open" });
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    root.adoptedStyleSheets = [style];
    const dialog = make("dialog", { "aria-labelledby": "title", lang: language() });
    const close = (result) => {
      // Closing gives the focus back to where it was; removing alone would not.
      dialog.close();
      host.remove();
      resolve(result);
    };
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(false); });
    root.append(dialog);
    document.body.append(host);
    dialog.showModal();
    fill(dialog, close);
  });
}

async function call(path, body) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  return plainFetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}

/** What is approved, in words. */
function operation(asked, w) {
  const facts = make("dl");
  const add = (name, value) => facts.append(make("dt", {}, name), make("dd", {}, value));
  if (asked.label) add(w.operation, asked.label);
  add(w.request, `${asked.method} ${asked.path}`);
  for (const { name, value } of asked.fields) add(name, value);
  return facts;
}

/** Where what they know, or have, is typed. */
function field(way) {
  const input = make("input", { id: "code", required: "", spellcheck: "false", "aria-describedby": "alert" });
  input.autocomplete = way === "password" ? "current-password" : way === "recovery-code" ? "off" : "one-time-code";
  if (way === "password") input.type = "password";
  else if (way !== "recovery-code") input.inputMode = "numeric";
  return input;
}

/** Asks the person to approve; true if they did. */
async function approve(challenge) {
  // Built here: where a code goes is nothing that an answer may say.
  const api = `/.doorward/api/v1/step-up/${encodeURIComponent(challenge)}`;
  const found = await call(api);
  if (!found.ok) return false;
  const asked = await found.json();
  const w = words();
  return open((dialog, close) => {
    const alert = make("p", { role: "alert", id: "alert" });
    const status = make("p", { role: "status" });
    const content = make("div");
    const cancel = make("button", { type: "button", onclick: () => close(false) }, w.cancel);
    const tell = (error, notice = "") => { alert.textContent = error; status.textContent = notice; };
    const give = async (way, code) => {
      const answer = await call(api, { way, code });
      if (answer.ok) return close(true);
      if (answer.status === 410 || answer.status === 401) {
        // Nothing that is typed is right any more.
        content.replaceChildren();
        tell(w.over);
        return cancel.focus();
      }
      tell(answer.status === 403 ? w.wrong : w.failed);
      const input = content.querySelector("input");
      input?.setAttribute("aria-invalid", "true");
      return input?.select();
    };
    const useKey = async () => {
      const { answerOf } = await import("/.doorward/webauthn.js");
      const options = await call("/.doorward/api/v1/webauthn/options", { step_up: challenge });
      if (!options.ok) throw new Error(String(options.status));
      await give("webauthn", JSON.stringify(await answerOf(await options.json())));
    };
    const send = async () => {
      const sent = await call(`${api}/send`, {});
      if (sent.ok) tell("", w.sent);
      else tell(sent.status === 429 ? w.later : w.failed);
    };
    const guarded = (work) => () => { tell(""); work().catch(() => tell(w.failed)); };
    const show = (way) => {
      const byKey = way === "webauthn";
      const input = field(way);
      const answer = guarded(() => (byKey ? useKey() : give(way, input.value)));
      const form = make("form", { onsubmit: (event) => { event.preventDefault(); answer(); } });
      const main = make("button", { class: "main" }, byKey ? w.use.webauthn : w.approve);
      if (!byKey) form.append(make("label", { for: "code" }, w[way]), input);
      form.append(main);
      if (way === "text-message") form.append(make("button", { type: "button", onclick: guarded(send) }, w.send));
      for (const other of asked.ways.filter((one) => one !== way)) {
        form.append(make("button", { type: "button", onclick: () => show(other) }, w.use[other]));
      }
      tell("");
      content.replaceChildren(form);
      (byKey ? main : input).focus();
    };
    dialog.append(make("h2", { id: "title" }, w.title), operation(asked, w));
    if (asked.once) dialog.append(make("p", {}, w.once));
    dialog.append(alert, status, content, cancel);
    show(asked.ways[0]);
  });
}

/** Asks the person to sign in again, in another window; true when they say that they have. */
function signInAgain() {
  const w = words();
  const url = "/.doorward/sign-in?return_to=%2F.doorward%2Faccount";
  return open((dialog, close) => {
    const signIn = make("button", { type: "button", class: "main", onclick: () => window.open(url, "_blank", "noopener") }, w.signIn);
    const goOn = make("button", { type: "button", onclick: () => close(true) }, w.goOn);
    const cancel = make("button", { type: "button", onclick: () => close(false) }, w.cancel);
    dialog.append(make("h2", { id: "title" }, w.ended), make("p", {}, w.again), signIn, goOn, cancel);
    signIn.focus();
  });
}

/** What the gate asks for, if this is its answer and it asks for anything. */
async function demandOf(answer) {
  const kind = answer.headers.get("content-type") ?? "";
  // Another host may say what it likes: nobody is asked for a code because of it.
  const ours = new URL(answer.url || location.href, location.href).origin === location.origin;
  if (!ours || answer.status !== 401 || !kind.startsWith("application/problem+json")) return null;
  const problem = await answer.clone().json().catch(() => ({}));
  if (problem.type === "urn:doorward:problem:step-up-required" && problem.challenge) {
    return () => approve(problem.challenge);
  }
  if (problem.type === "urn:doorward:problem:session-required") return signInAgain;
  return null;
}

// One dialog at a time: calls that are refused together wait for each other.
let turn = Promise.resolve();

// A call may need a sign-in and then an approval; what asks for more than that would ask for ever.
const ROUNDS = 3;

/** `fetch`, which asks the person for what the gate asks for, and then repeats the call. */
export async function stepUpFetch(input, init) {
  // Kept as it is, and a copy sent each time: once sent, its body is gone.
  const request = new Request(input, init);
  const send = () => plainFetch(request.clone());
  const first = await send();
  if (!(await demandOf(first))) return first;
  const done = turn.then(async () => {
    // What somebody did for another call meanwhile may be enough for this one.
    let answer = await send();
    for (let round = 0; round < ROUNDS; round += 1) {
      const demand = await demandOf(answer);
      if (!demand || !(await demand())) break;
      answer = await send();
    }
    return answer;
  });
  turn = done.catch(() => {});
  return done;
}

/** Puts `stepUpFetch` in the place of `fetch`. */
export function install() {
  globalThis.fetch = stepUpFetch;
}
