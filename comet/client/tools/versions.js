// Write the version and the integrity of comet.js into a page of the documentation: node versions.js FILE PAGE
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const [file, page] = process.argv.slice(2);
const data = readFileSync(file);
const hash = (name, as) => createHash(name).update(data).digest(as);
const text = readFileSync(page, "utf8")
  .replace(/\/comet-[0-9a-f]{12}\.js/g, `/comet-${hash("sha256", "hex").slice(0, 12)}.js`)
  .replace(/sha384-[\w+/=]*/g, `sha384-${hash("sha384", "base64")}`);
writeFileSync(page, text);
