// A ZIP of small text files, uncompressed (the format of PKWARE's APPNOTE, 4.3): no library is needed for that.
import { save } from "../../ui/save";
import type { Conversion } from "./conversions";

export const svgName = (file: string) => `${file.replace(/\.[^.]*$/, "") || "picture"}.svg`;

export function saveAll(conversions: Conversion[]) {
  const names = new Map<string, number>();
  const files = conversions.map(({ file, result }) => {
    const count = names.get(svgName(file.name)) ?? 0;
    names.set(svgName(file.name), count + 1);
    const name = count ? svgName(file.name).replace(/\.svg$/, ` (${count}).svg`) : svgName(file.name);
    return { name, content: new TextEncoder().encode(result?.svg_content ?? "") };
  });
  save(new Blob(zipped(files), { type: "application/zip" }), "vectorised.zip");
}

interface Entry {
  name: string;
  content: Uint8Array<ArrayBuffer>;
}

export function zipped(files: Entry[]): BlobPart[] {
  const parts: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  let directorySize = 0;
  for (const { name, content } of files) {
    const title = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored as it is, the first of January 1980, checksum, sizes, no extra field.
    const common: [number, number][] = [
      [2, 20],
      [2, 0x0800],
      [2, 0],
      [2, 0],
      [2, 0x21],
      [4, crc32(content)],
      [4, content.length],
      [4, content.length],
      [2, title.length],
      [2, 0],
    ];
    const header = record(0x04034b50, common);
    const place: [number, number][] = [
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, offset],
    ];
    const entry = record(0x02014b50, [[2, 20], ...common, ...place]);
    parts.push(header, title, content);
    directory.push(entry, title);
    offset += header.length + title.length + content.length;
    directorySize += entry.length + title.length;
  }
  const end = record(0x06054b50, [
    [2, 0],
    [2, 0],
    [2, files.length],
    [2, files.length],
    [4, directorySize],
    [4, offset],
    [2, 0],
  ]);
  return [...parts, ...directory, end];
}

function record(signature: number, fields: [number, number][]): Uint8Array<ArrayBuffer> {
  const size = 4 + fields.reduce((sum, [bytes]) => sum + bytes, 0);
  const view = new DataView(new ArrayBuffer(size));
  view.setUint32(0, signature, true);
  let at = 4;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}

export function crc32(content: Uint8Array): number {
  let crc = ~0;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
  }
  return ~crc >>> 0;
}
