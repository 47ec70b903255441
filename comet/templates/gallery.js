// What moves on this page moves without a script. This one is for three comforts.
"use strict";
const live = [...document.querySelectorAll(".live")];
const sources = new Map(live.map((element) => [element, element.getAttribute("src")]));

function show(element, url) {
  if (element.localName === "img") element.src = url;
  else element.contentWindow.location.replace(url); // leaves no entry in the history
}

// A browser has six connections to a host. A page that nobody sees gives its own back.
document.addEventListener("visibilitychange", () => {
  for (const element of live) {
    show(element, document.hidden ? (element.localName === "img" ? "data:," : "about:blank") : sources.get(element));
  }
});

// A stream ends when the server stops. Knock until it is there again.
for (const element of live) {
  if (element.localName === "img") continue;
  element.addEventListener("load", () => {
    setTimeout(() => { if (!document.hidden) show(element, sources.get(element)); }, 3000);
  });
}

// What is typed is published, one request after the other, always the newest.
const form = document.getElementById("say");
if (form) {
  const [words, status] = [form.querySelector("input"), form.querySelector("[role=status]")];
  let busy = false, newer = false;
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
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
