// What moves on this page moves without a script. This one is for three comforts.
"use strict";
const live = [...document.querySelectorAll(".live")].map((element) => ({ element, url: element.getAttribute("src") }));

const time = document.getElementById("time");
let left = null, seen = {}, still = 0;

function showAll() {
  left = time.contentDocument;
  seen = {};
  still = 0;
  for (const { element, url } of live) {
    // A new address each time: for the same one a browser may show the picture that it has.
    if (element.localName === "img") element.src = document.hidden ? "data:," : `${url}?${Date.now()}`;
    else element.contentWindow.location.replace(document.hidden ? "about:blank" : url); // leaves no entry in the history
  }
}

// A browser has six connections to a host. A page that nobody sees gives its own back.
document.addEventListener("visibilitychange", showAll);

// Where the time stands still, or goes on in another page, the server was away. Knock until it is back, and begin anew.
setInterval(async () => {
  const page = time.contentDocument;
  if (document.hidden || (page && page === left)) return;
  const count = page?.body?.childElementCount;
  const another = seen.page && seen.page !== page;
  still = count === seen.count ? still + 1 : 0;
  seen = { page, count };
  if (!another && still < 4) return;
  const ready = await fetch("/readyz", { signal: AbortSignal.timeout(2000) }).then((answer) => answer.ok, () => false);
  if (ready) showAll();
}, 1000);

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
