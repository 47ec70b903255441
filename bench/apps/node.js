// Node's http: a set of responses, and a write to each.
const http = require("node:http");

const clients = new Set();
let id = 0;

http.createServer((request, response) => {
  if (request.method === "GET" && request.url === "/stream") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(":\n\n");
    clients.add(response);
    request.on("close", () => clients.delete(response));
    return;
  }
  const body = [];
  request.on("data", (piece) => body.push(piece));
  request.on("end", () => {
    if (request.method === "POST") {
      const update = `id: ${++id}\ndata: ${Buffer.concat(body)}\n\n`;
      for (const client of clients) client.write(update);
    }
    response.writeHead(204).end();
  });
}).listen(Number(process.argv[2]), "127.0.0.1");
