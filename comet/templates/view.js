// The newest update of one channel, what it is, and the state of the line.
"use strict";
const { channel, now } = document.body.dataset;
const place = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
// Ages are told by the server's clock: this machine's may be wrong.
const ahead = now * 1000 - Date.now();
let published = null;

function listen() {
  comet.subscribe(channel, {
    last: 1,
    token: new URLSearchParams(location.search).get("token") || undefined,
    onupdate: show,
    onstate(state, { channel: deleted, status }) {
      say(deleted ? "closed" : state, deleted ? "deleted" : state + (status ? `, refused with ${status}` : ""));
      if (deleted) {
        clear();
        setTimeout(listen, 2000); // the name may be published to again
      }
    },
  });
}

function say(state, words) {
  if (place.state.dataset.state === "closed" && state === "closed") return; // what came first says why
  place.state.dataset.state = state;
  place.state.textContent = words;
}

function show(update) {
  const bytes = update.encoding ? atob(update.data).length : new TextEncoder().encode(update.data).length;
  put(update, bytes);
  published = update.time;
  place.id.textContent = update.id;
  place.type.textContent = update.type + (update.event ? `, ${update.event}` : "");
  place.size.textContent = size(bytes);
  tick();
  place.content.classList.remove("fresh");
  requestAnimationFrame(() => place.content.classList.add("fresh"));
}

function clear() {
  published = null;
  place.content.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: "Nothing yet." }));
  for (const each of [place.id, place.age, place.type, place.size]) each.textContent = "–";
}

// What an update looks like.

function put(update, bytes) {
  const type = update.type.toLowerCase().replace(/\s*;.*/, "");
  if (/^image\/[\w.+-]+$/.test(type)) {
    const data = update.encoding ? `;base64,${update.data}` : `,${encodeURIComponent(update.data)}`;
    make("img", { alt: channel }).src = `data:${type}${data}`;
  } else if (update.encoding) make("p", { className: "none" }).textContent = `${update.type}, ${size(bytes)}`;
  else if (type === "text/html") putHtml(update.data);
  else putText(/[/+]json$/.test(type) ? pretty(update.data) : update.data);
}

// The element that is there goes on, if it is of this kind: so it does not flicker, and stays where it was scrolled to.
function make(name, properties) {
  const old = place.content.firstElementChild;
  if (old && old.localName === name && old.classList.contains("none") === (properties.className === "none")) return old;
  const element = Object.assign(document.createElement(name), properties);
  place.content.replaceChildren(element);
  return element;
}

function putText(text) {
  const pre = make("pre", {});
  const lines = text.trimEnd().split("\n", 1000);
  pre.style.setProperty("--w", Math.max(1, ...lines.map((line) => line.length)));
  pre.classList.toggle("long", lines.length > 3);
  pre.textContent = text;
}

// No script runs in the frame, whatever is in it, and it can't lead this page away.
function putHtml(html) {
  const old = place.content.firstElementChild;
  if (old && old.localName === "iframe" && old.contentDocument.body) {
    old.contentDocument.body.innerHTML = html;
    return;
  }
  const frame = document.createElement("iframe");
  frame.title = `The content of ${channel}`;
  frame.setAttribute("sandbox", "allow-same-origin allow-popups allow-popups-to-escape-sandbox");
  const look = ":root{color-scheme:light dark}body{margin:1rem;font:1rem/1.5 system-ui,sans-serif}";
  frame.srcdoc = `<!doctype html><meta charset="utf-8"><base target="_blank"><style>${look}</style><body>`;
  frame.addEventListener("load", () => { frame.contentDocument.body.innerHTML = frame.html; }, { once: true });
  Object.defineProperty(frame, "html", { value: html, writable: true });
  place.content.replaceChildren(frame);
}

// JSON with indents. Its parts stay as they were sent: reading and writing would change large numbers.
function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const parts = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  let depth = 0, laid = "";
  const line = () => "\n" + "  ".repeat(depth);
  parts.forEach((part, place) => {
    if (part === "{" || part === "[") {
      depth += 1;
      laid += part + (/^[}\]]$/.test(parts[place + 1]) ? "" : line());
    } else if (part === "}" || part === "]") {
      depth -= 1;
      laid += (/^[{[]$/.test(parts[place - 1]) ? "" : line()) + part;
    } else laid += part === "," ? part + line() : part === ":" ? ": " : part;
  });
  return laid;
}

// Words.

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const [amount, unit] = bytes < 1e6 ? [bytes / 1024, "KiB"] : [bytes / 1048576, "MiB"];
  return `${amount < 100 ? amount.toFixed(1) : Math.round(amount)} ${unit}`;
}

function tick() {
  if (published === null) return;
  const seconds = Math.max(0, (Date.now() + ahead) / 1000 - published);
  const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, each]) => seconds >= each) || ["s", 1];
  place.age.textContent = seconds < 1 ? "just now" : `${Math.floor(seconds / length)} ${unit} ago`;
  place.age.dateTime = new Date(published * 1000).toISOString();
  place.age.title = new Date(published * 1000).toLocaleString();
}

setInterval(tick, 1000);
listen();
