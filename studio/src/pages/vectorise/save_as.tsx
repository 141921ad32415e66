// The drawing as a file: SVG from the page, other formats from the stack, which has the conversion in its cache.
import { useState } from "react";
import { Problem, send } from "../../api/client";
import { Button, Choice } from "../../ui/controls";
import { save } from "../../ui/save";
import { toast } from "../../ui/toasts";
import { type Conversion, formOf } from "./conversions";
import { svgName } from "./zip";

const FORMATS = [
  { id: "svg", name: "SVG" },
  { id: "svgz", name: "SVG, compressed" },
  { id: "pdf", name: "PDF" },
  { id: "eps", name: "EPS" },
  { id: "dxf", name: "DXF" },
  { id: "png", name: "PNG" },
  { id: "png 2", name: "PNG, 2 ×" },
  { id: "png 4", name: "PNG, 4 ×" },
];

export function SaveAs({ conversion, content }: { conversion: Conversion; content: string }) {
  const [chosen, setChosen] = useState("svg");
  const [isBusy, setBusy] = useState(false);
  const [format = "svg", scale] = chosen.split(" ");
  const name = svgName(conversion.file.name).replace(/svg$/, format);
  const press = async () => {
    setBusy(true);
    try {
      save(
        format === "svg" ? new Blob([content], { type: "image/svg+xml" }) : await exported(conversion, format, scale),
        name,
      );
    } catch (error) {
      toast("error", error instanceof Problem ? error.detail || error.title : String(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Choice label="Save as" value={chosen} onChange={setChosen} options={FORMATS} />
      <Button onPress={press} isDisabled={isBusy}>
        Save
      </Button>
    </>
  );
}

async function exported(conversion: Conversion, format: string, scale?: string): Promise<Blob> {
  const form = formOf(conversion.file, conversion.options);
  const response = await send("POST", "/api/convert-ai", {
    form,
    query: { format, scale },
    headers: { Accept: "*/*" },
  });
  return response.blob();
}
