const SHAPES = "path, circle, ellipse, rect, polygon, polyline, line";

/** The SVG as outlines with its nodes as dots, as a data URL. An image runs no scripts, whatever the SVG contains. */
export function outlined(content: string): string {
  const document = new DOMParser().parseFromString(content, "image/svg+xml");
  const root = document.documentElement;
  const box = (root.getAttribute("viewBox") ?? `0 0 ${root.getAttribute("width")} ${root.getAttribute("height")}`)
    .split(/[\s,]+/)
    .map(Number);
  const unit = Math.max(box[2] ?? 0, box[3] ?? 0) / 400;
  const dots: string[] = [];
  for (const shape of root.querySelectorAll(SHAPES)) {
    for (const name of ["fill", "stroke", "style", "opacity", "filter"]) shape.removeAttribute(name);
    shape.setAttribute("fill", "none");
    shape.setAttribute("stroke", "#667eea");
    shape.setAttribute("stroke-width", String(unit));
    dots.push(
      ...nodes(shape.getAttribute("d") ?? "").map(
        ([x, y]) => `<circle cx="${x}" cy="${y}" r="${unit * 1.6}" fill="#764ba2"/>`,
      ),
    );
  }
  const text = new XMLSerializer().serializeToString(root).replace(/<\/svg>\s*$/, `${dots.join("")}</svg>`);
  return `data:image/svg+xml,${encodeURIComponent(text)}`;
}

/** The points that a path passes through, in its own coordinates. */
export function nodes(d: string): [number, number][] {
  const points: [number, number][] = [];
  let [x, y] = [0, 0];
  let start: [number, number] = [0, 0];
  const lengths: Record<string, number> = { M: 2, L: 2, H: 1, V: 1, C: 6, S: 4, Q: 4, T: 2, A: 7, Z: 0 };
  for (const [, letter = "", rest = ""] of d.matchAll(/([MLHVCSQTAZ])([^MLHVCSQTAZ]*)/gi)) {
    const kind = letter.toUpperCase();
    const relative = letter !== kind;
    const numbers = (rest.match(/[-+]?(?:\d*\.\d+|\d+\.?)(?:e[-+]?\d+)?/gi) ?? []).map(Number);
    const size = lengths[kind] ?? 0;
    if (kind === "Z") [x, y] = start;
    for (let at = 0; size && at + size <= numbers.length; at += size) {
      const [last = 0, end = 0] = [numbers[at + size - 2], numbers[at + size - 1]];
      if (kind === "H") x = relative ? x + end : end;
      else if (kind === "V") y = relative ? y + end : end;
      else [x, y] = relative ? [x + last, y + end] : [last, end];
      if (kind === "M" && at === 0) start = [x, y];
      points.push([x, y]);
    }
  }
  return points;
}
