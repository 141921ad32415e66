// The studio in Firefox, by WebDriver BiDi: node walk.mjs FIREFOX URL AXE PAGE... prints what it found as JSON.
import { readFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";

const [executablePath, url, axePath, ...pages] = process.argv.slice(2);
const axe = await readFile(axePath, "utf8");
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, timeout: 180_000, protocolTimeout: 300_000 });
const page = await browser.newPage();
await page.setViewport({ width: 1440, height: 900 });
page.setDefaultTimeout(120_000);
setTimeout(() => {
  console.error(`too slow at ${page.url()}`);
  process.exit(1);
}, 500_000).unref();
const complaints = [];
page.on("console", (message) => message.type() !== "log" && complaints.push(message.text()));
page.on("pageerror", (error) => complaints.push(error.message));

const violations = async () => {
  await page.evaluate(axe);
  const { violations: found } = await page.evaluate("axe.run(document, {resultTypes: ['violations']})");
  return found.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 160)}`));
};
const settled = async (path) => {
  await page.goto(url + path);
  await page.waitForSelector("h1");
  while (await page.$(".skeleton")) await new Promise((done) => setTimeout(done, 100));
};
/** A prompt, with a region that is painted; sent by the keyboard. */
const draw = async () => {
  await settled("/");
  await page.type("::-p-aria(Prompt)", "an apple in Firefox");
  await (await page.waitForSelector("summary ::-p-text(Layout)")).click();
  await (await page.waitForSelector("::-p-aria(Lay it out)")).click();
  await (await page.waitForSelector("::-p-aria(Paint a region)")).click();
  const canvas = await page.waitForSelector("[role=dialog] canvas");
  const { x, y, width, height } = await canvas.boundingBox();
  await page.mouse.move(x + 0.2 * width, y + 0.5 * height);
  await page.mouse.down();
  await page.mouse.move(x + 0.8 * width, y + 0.5 * height, { steps: 5 });
  await page.mouse.up();
  await (await page.waitForSelector("::-p-aria(Use this mask)")).click();
  await page.waitForSelector(".part textarea:focus");
  await page.keyboard.type("a leaf");
  await page.keyboard.press("Escape");
  await page.waitForSelector("[role=dialog]", { hidden: true });
  await page.keyboard.down("Control");
  await page.keyboard.press("Enter");
  await page.keyboard.up("Control");
  await page.waitForSelector('button[aria-label="Open: an apple in Firefox"] img');
};

const found = {};
for (const path of pages) {
  await settled(path);
  found[path] = await violations();
}
await draw();
console.log(JSON.stringify({ version: await browser.version(), violations: found, complaints }));
await browser.close();
