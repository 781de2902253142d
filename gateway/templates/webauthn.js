// Asks the browser for a security key or passkey, on pages that say so:
//
// - a form with data-webauthn="bind" or "use": its button asks for a key, with the options in
//   data-options, and sends data-challenge and the answer in the form's field "answer";
// - a button with data-webauthn="sign-in": signs in by a passkey alone, by /.doorward/api/v1, and
//   goes on to data-return-to. The field of the name offers passkeys too, where browsers can.
//
// The button is hidden until this script has found that the browser knows keys.

const API = "/.doorward/api/v1/webauthn/sign-in";

const octets = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** The options of the specification's JSON form, as the browser takes them. */
function decoded({ publicKey }) {
  const described = (list) => list?.map((one) => ({ ...one, id: octets(one.id) }));
  const options = { ...publicKey, challenge: octets(publicKey.challenge) };
  if (publicKey.user) options.user = { ...publicKey.user, id: octets(publicKey.user.id) };
  if (publicKey.excludeCredentials) options.excludeCredentials = described(publicKey.excludeCredentials);
  if (publicKey.allowCredentials) options.allowCredentials = described(publicKey.allowCredentials);
  return options;
}

/** What the browser answers, in the specification's JSON form. */
function encoded(credential) {
  const { response } = credential;
  const parts = { clientDataJSON: text(response.clientDataJSON) };
  if (response.attestationObject) {
    parts.attestationObject = text(response.attestationObject);
    parts.transports = response.getTransports?.() ?? [];
  } else {
    parts.authenticatorData = text(response.authenticatorData);
    parts.signature = text(response.signature);
    if (response.userHandle?.byteLength) parts.userHandle = text(response.userHandle);
  }
  return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response: parts };
}

async function post(path, body) {
  const headers = { "content-type": "application/json", accept: "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

/** Says aloud that it did not work; the other ways on the page go on working. */
function tell(element) {
  const status = document.getElementById("webauthn-status");
  if (status) status.textContent = element.dataset.failed ?? "";
}

let waiting = null;

/** Signs in by a passkey; `conditional`: only if somebody chooses one in the field of the name. */
async function signIn(button, conditional) {
  waiting?.abort();
  waiting = new AbortController();
  const { signal } = waiting;
  const { challenge, options } = await post(`${API}/options`, {});
  const wanted = { publicKey: decoded(options), signal };
  if (conditional) wanted.mediation = "conditional";
  const credential = await navigator.credentials.get(wanted);
  await post(API, { challenge, credential: encoded(credential) });
  location.assign(button.dataset.returnTo);
}

/** What a key answers to these options of the API; for other scripts of the gate's. */
export async function answerOf({ challenge, options }) {
  const credential = await navigator.credentials.get({ publicKey: decoded(options) });
  return { challenge, credential: encoded(credential) };
}

/** Fills the form's field with what the key answers, and sends it. */
async function fill(form) {
  const options = { publicKey: decoded(JSON.parse(form.dataset.options)) };
  const credential = form.dataset.webauthn === "bind"
    ? await navigator.credentials.create(options)
    : await navigator.credentials.get(options);
  const { challenge } = form.dataset;
  form.elements.answer.value = JSON.stringify({ challenge, credential: encoded(credential) });
  // Not form.submit(): a field of that name would stand in its way.
  HTMLFormElement.prototype.submit.call(form);
}

if (globalThis.PublicKeyCredential && navigator.credentials) {
  for (const element of document.querySelectorAll("[data-webauthn]")) {
    element.hidden = false;
    if (element.dataset.webauthn === "sign-in") {
      element.addEventListener("click", () => signIn(element, false).catch(() => tell(element)));
      const able = await PublicKeyCredential.isConditionalMediationAvailable?.();
      if (able) signIn(element, true).catch(() => {});
    } else {
      element.addEventListener("submit", (event) => {
        event.preventDefault();
        fill(element).catch(() => tell(element));
      });
    }
  }
}
