// Why the stack did what it did (D-063): kind, confidence, tier, qualities, times, versions; and the ways to take it away.
import { Button } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { Fact } from "../../ui/facts";
import { bytes, percent, seconds } from "../../ui/format";
import type { Conversion, Converted } from "./conversions";
import { nodes } from "./outlines";
import { SaveAs } from "./save_as";
import { svgName } from "./zip";

export function Insights({ conversion, result }: { conversion: Conversion; result: Converted }) {
  const about = result.ai_metadata;
  const points = [...result.svg_content.matchAll(/ d="([^"]*)"/g)].reduce(
    (sum, [, d = ""]) => sum + nodes(d).length,
    0,
  );
  const stages = Object.entries(about.timings_s ?? {}).filter(([, time]) => time >= 0.0005);
  const longest = Math.max(...stages.map(([, time]) => time), 0.001);
  return (
    <section className="card" aria-labelledby="insights">
      <div className="row spread">
        <h2 id="insights">Insights</h2>
        <div className="actions">
          <SaveAs conversion={conversion} content={result.svg_content} />
          <Button onPress={() => copy(result.svg_content, "SVG")}>Copy SVG</Button>
          <Button onPress={() => copy(`data:image/svg+xml,${encodeURIComponent(result.svg_content)}`, "Data URL")}>
            Data URL
          </Button>
          <Button onPress={() => copy(asComponent(conversion.file.name, result.svg_content), "Component")}>
            React
          </Button>
        </div>
      </div>
      {(result.fallback_used || about.degraded.length > 0) && (
        <p className="warning" role="status">
          Made with less than everything: {about.degraded.join("; ") || "the basic tracer alone"}.
        </p>
      )}
      <dl className="facts columns">
        <Fact name="Kind" value={`${about.logo_type} (${percent(about.confidence)} sure)`} />
        <Fact name="Tier" value={`${about.selected_tier}, ${about.tracer}`} />
        <Fact name="Predicted quality" value={percent(about.predicted_quality)} />
        <Fact name="Actual quality" value={percent(about.actual_quality)} />
        <Fact name="Size" value={`${bytes(about.bytes)} from ${bytes(conversion.file.size)}`} />
        <Fact name="Paths and nodes" value={`${about.paths} and ${points}`} />
        <Fact name="Pixels" value={`${about.width} × ${about.height}`} />
        <Fact
          name="Time here, in all"
          value={`${seconds(about.processing_time)}, ${seconds(conversion.clientTimeS)}${about.cached ? ", cached" : ""}`}
        />
      </dl>
      {stages.length > 0 && (
        <details className="more">
          <summary>Time per stage</summary>
          <ul className="bars">
            {stages.map(([name, time]) => (
              <li key={name}>
                <span>{name}</span>
                <span className="bar" style={{ inlineSize: `${(time / longest) * 100}%` }} />
                <span className="muted">{seconds(time)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
      <details className="more">
        <summary>Models and parameters</summary>
        <dl className="facts columns">
          {Object.entries({ ...about.model_versions, ...about.parameters_used }).map(([name, value]) => (
            <Fact key={name} name={name.replaceAll("_", " ")} value={String(value)} />
          ))}
        </dl>
      </details>
    </section>
  );
}

/** A React component that draws the SVG. Attribute names become those of JSX. */
function asComponent(file: string, svg: string): string {
  const name = svgName(file)
    .replace(/\.svg$/, "")
    .replace(/[^a-zA-Z0-9]+(.)?/g, (_, letter = "") => letter.toUpperCase());
  const titled = name.charAt(0).toUpperCase() + name.slice(1);
  const body = svg
    .replace(/<\?xml[^>]*\?>\s*/, "")
    .replace(/ ([a-z]+)-([a-z])([a-z-]*)=/g, (_, start, letter, rest) => ` ${start}${letter.toUpperCase()}${rest}=`)
    .replace("<svg ", "<svg {...props} ");
  return `export function ${/^[A-Za-z]/.test(titled) ? titled : `Svg${titled}`}(props) {\n  return (\n    ${body.trim()}\n  );\n}\n`;
}
