// Follow a channel by asking again and again, and miss nothing: node poll.mjs http://127.0.0.1:4071 time
const [url, channel] = process.argv.slice(2)
for (let told = { cursor: "" }; ; ) {
  told = await (await fetch(`${url}/channels/${channel}/poll?since=${told.cursor}`)).json()
  for (const update of told.updates) console.log(update.data)
}
