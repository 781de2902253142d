// Begins ALTCHA's widget on a page whose policy allows scripts and workers of this host only, gives
// it the page's words, and says aloud how far it is.
import "/.doorward/altcha.js";

globalThis.$altcha.algorithms.set("PBKDF2/SHA-256", () => new Worker("/.doorward/altcha-worker.js"));

const widget = document.querySelector("altcha-widget");
const status = document.getElementById("captcha-status");
const words = { ...widget.dataset };
const own = globalThis.$altcha.i18n.get("en");
globalThis.$altcha.i18n.set(widget.getAttribute("language"), { ...own, ...words });
widget.addEventListener("statechange", (event) => {
  status.textContent = words[event.detail.state] ?? "";
});
