// Writes down which sources the built files are of, so that a test without Node can tell.
// A digest is SHA-256 over name, NUL, content, NUL of each file, in the order of their names.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const SINGLE = ["index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.ts"];

function digest(root, names) {
  const made = createHash("sha256");
  for (const name of names.sort()) made.update(`${name}\0`).update(readFileSync(root + name)).update("\0");
  return made.digest("hex");
}

const inside = (folder) => readdirSync(folder).map((name) => `${folder}/${name}`);
const sources = digest("", [...SINGLE, ...inside("public"), ...inside("src")]);
const built = digest("../web/door/", readdirSync("../web/door"));
writeFileSync("built.sha256", `${sources}  sources\n${built}  gateway/web/door\n`);
