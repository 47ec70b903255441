# Follow a channel by asking again and again, and miss nothing: python3 poll.py http://127.0.0.1:4071 time
import json, sys, urllib.request
told, (url, channel) = {"cursor": ""}, sys.argv[1:]
while True:
    told = json.load(urllib.request.urlopen(f"{url}/channels/{channel}/poll?since={told['cursor']}"))
    for update in told["updates"]: print(update["data"], flush=True)
