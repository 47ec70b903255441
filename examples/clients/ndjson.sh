#!/bin/sh
# Follow a channel, a line of JSON for each update: sh ndjson.sh http://127.0.0.1:4071 time
curl -fsSN "$1/channels/$2/ndjson" | while read -r line; do
    printf '%s\n' "$line"
done
