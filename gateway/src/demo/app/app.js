// The script of a console that knows the gate by these two lines, and is otherwise as it was.
import { install } from "/.doorward/step-up.js";
install();

const result = document.getElementById("result");

/** Shows what the console answered; the gate's answer, if somebody gave up. */
async function show(answering) {
  const answer = await answering;
  const line = document.createElement("div");
  line.textContent = `${answer.status} ${await answer.text()}`;
  result.prepend(line);
}

const json = (body) => ({
  method: "POST",
  headers: { "content-type": "application/json", accept: "application/json" },
  body: JSON.stringify(body),
});

document.getElementById("key").addEventListener("click", () => show(fetch("/keys/new", json({ name: "ci" }))));

document.getElementById("keys").addEventListener("click", () => {
  for (const name of ["build", "deploy"]) show(fetch("/keys/new", json({ name })));
});

document.getElementById("transfer").addEventListener("submit", (event) => {
  event.preventDefault();
  show(fetch("/transfer", json(Object.fromEntries(new FormData(event.target)))));
});
