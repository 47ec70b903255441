# Follow a channel: python3 ndjson.py http://127.0.0.1:4071 time
import json, sys, urllib.request
url, channel = sys.argv[1:]
for line in urllib.request.urlopen(f"{url}/channels/{channel}/ndjson"):
    told = json.loads(line)
    if "data" in told: print(told["data"], flush=True)
