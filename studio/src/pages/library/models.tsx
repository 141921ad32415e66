import type { Schemas } from "../../api/client";
import { useOffer } from "../../api/offer";
import { useEngines, useLoras } from "../../api/queries";
import { Fact } from "../../ui/facts";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { Table } from "../../ui/table";
import { Loras } from "./loras";

/** The families that draw here, and the engines behind them. */
export function Models() {
  const offer = useOffer();
  const engines = useEngines();
  const takesLoras = Boolean(offer.data?.keeps && offer.data.families.some((family) => family.takes_loras));
  const loras = useLoras(takesLoras);
  if (offer.isPending || engines.isPending || (takesLoras && loras.isPending)) {
    return (
      <div className="page">
        <h1>Models</h1>
        <Skeletons count={4} className="line" />
      </div>
    );
  }
  return (
    <div className="page">
      <h1>Models</h1>
      {offer.isError && <Failed error={offer.error} retry={offer.refetch} />}
      {offer.data?.families.map((family) => (
        <section key={family.name} className="card" aria-labelledby={`family-${family.name}`}>
          <h2 id={`family-${family.name}`}>{family.name}</h2>
          <dl className="facts columns">
            <Fact name="Size" value={`${family.width} × ${family.height} px`} />
            <Fact
              name="Sides"
              value={family.min_px === family.max_px ? "fixed" : `${family.min_px} to ${family.max_px} px`}
            />
            <Fact name="Steps" value={stepsOf(family)} />
            <Fact name="Guidance" value={String(family.guidance_scale)} />
            <Fact name="Samplers" value={family.samplers.join(", ")} />
            <Fact name="LoRAs" value={family.takes_loras ? "yes" : "no"} />
            <Fact name="References" value={family.takes_references ? "yes" : "no"} />
            <Fact name="Control pictures" value={family.controls.join(", ") || "none"} />
          </dl>
        </section>
      ))}
      {offer.data?.families.length === 0 && <Empty title="No family draws here" />}
      {takesLoras && <Loras />}
      <section className="card" aria-labelledby="engines">
        <h2 id="engines">Engines of the vectoriser</h2>
        {engines.isError && <Failed error={engines.error} retry={engines.refetch} />}
        <Table
          label="Engines"
          head={["Engine", "State", "Version", "Answers in"]}
          rows={Object.entries(engines.data?.models ?? {}).map(([name, engine]) => [
            name,
            name,
            <State key="state" ready={engine.ready} reason={engine.reason} />,
            engine.version,
            `${engine.latency_ms.toFixed(1)} ms`,
          ])}
        />
      </section>
    </div>
  );
}

const stepsOf = ({ few_steps, num_inference_steps }: Schemas["FamilyOffer"]) =>
  few_steps === null ? String(num_inference_steps) : `${few_steps}, or ${num_inference_steps} with guidance`;

function State({ ready, reason }: { ready: boolean; reason: string }) {
  return (
    <>
      <span className={ready ? "dot good" : "dot bad"} aria-hidden="true" /> {ready ? "ready" : reason || "not ready"}
    </>
  );
}
