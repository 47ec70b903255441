// What moves on this page is moved by comet.js, or without a script by the browser. This one is for three comforts.
"use strict";

// A page that nobody sees listens to nothing: so who is counted as watching watches.
const live = [...document.querySelectorAll("comet-view")].map((element) => [element, element.getAttribute("channel")]);
function look() {
  for (const [element, channel] of live) {
    if (document.hidden) element.removeAttribute("channel");
    else element.setAttribute("channel", channel);
  }
}
document.addEventListener("visibilitychange", look);
look();

// A secure page may write to the clipboard: https, or this machine.
for (const ways of navigator.clipboard ? document.querySelectorAll(".ways") : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-describedby", "title-" + ways.querySelector("input").name.slice(4));
  ways.append(button);
  button.addEventListener("click", async () => {
    const text = ways.querySelector("input:checked + label + code").textContent;
    const done = await navigator.clipboard.writeText(text).then(() => "Copied", () => "Not allowed");
    button.textContent = done;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// What is typed is published, one request after the other, always the newest.
const form = document.getElementById("say");
if (form) {
  const [words, status] = [form.querySelector("input"), form.querySelector("[role=status]")];
  const hello = document.getElementById("hello");
  let busy = false, newer = false;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  // Who types knows the letters: only what others say is read out.
  words.addEventListener("focus", () => hello.setAttribute("aria-live", "off"));
  words.addEventListener("blur", () => hello.setAttribute("aria-live", "polite"));
  words.addEventListener("input", async () => {
    newer = true;
    if (busy) return;
    busy = true;
    while (newer) {
      newer = false;
      status.textContent = await publish(words.value);
    }
    busy = false;
  });
}

async function publish(text) {
  try {
    const headers = { "Content-Type": "text/plain; charset=utf-8" };
    const answer = await fetch("/channels/hello", { method: "POST", headers, body: text });
    return answer.ok ? "" : (await answer.json()).detail;
  } catch {
    return "The server does not answer.";
  }
}
