// Follow a channel: node ndjson.mjs http://127.0.0.1:4071 time
const [url, channel] = process.argv.slice(2)
const stream = (await fetch(`${url}/channels/${channel}/ndjson`)).body.pipeThrough(new TextDecoderStream())
let lines = [""]
for await (const text of stream) {
  lines = (lines[0] + text).split("\n")
  for (; lines.length > 1; lines.shift()) if ("data" in JSON.parse(lines[0])) console.log(JSON.parse(lines[0]).data)
}
