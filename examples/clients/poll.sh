#!/bin/sh
# Follow a channel by asking again and again, and miss nothing: sh poll.sh http://127.0.0.1:4071 time
cursor=
while answer=$(curl -fsS --retry 9 --retry-all-errors "$1/channels/$2/poll?since=$cursor"); do
    cursor=$(printf %s "$answer" | sed 's/.*"cursor":"\([^"]*\)".*/\1/')
    printf '%s\n' "$answer"
done
