#!/bin/sh
# Bundle the browser client: called by `make client`, with the tools in $NODE, the way out in $STATIC,
# and the page of the documentation that names the version in $PAGE, if any.
set -eu
here=$(dirname "$0")/..
esbuild="$NODE/node_modules/.bin/esbuild"
mkdir -p "$STATIC"

# bundle SOURCE FORMAT TARGET FILE
bundle() {
    "$esbuild" "$here/$1" --bundle --minify --charset=utf8 --log-level=warning --format="$2" --target="$3" \
        --outfile="$STATIC/$4"
}

bundle classic.js iife es2018 comet.js
bundle module.js esm es2020 comet.mjs
cp "$here/comet.d.ts" "$STATIC/comet.d.ts"
bundle elements.js iife es2018 comet-elements.js
bundle legacy.js iife es5 comet-legacy.js

[ -z "${PAGE:-}" ] || node "$here/tools/versions.js" "$STATIC/comet.js" "$PAGE"
