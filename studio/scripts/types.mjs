// Writes src/api/schema.ts from an OpenAPI document on standard input; --check fails instead where it would differ.
import { readFileSync, writeFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import openapiTS, { astToString } from "openapi-typescript";

const target = fileURLToPath(new URL("../src/api/schema.ts", import.meta.url));
const { openapi, info, components } = JSON.parse(await text(process.stdin));
const ast = await openapiTS({ openapi, info, paths: {}, components: { schemas: components.schemas } });
const types = `// Made from /openapi.json by \`make studio-types\`. Do not edit.\n${astToString(ast)}`;
if (!process.argv.includes("--check")) writeFileSync(target, types);
else if (readFileSync(target, "utf8") !== types) {
  console.error("src/api/schema.ts is stale: run `make studio-types`");
  process.exit(1);
}
