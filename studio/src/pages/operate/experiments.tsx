// The arms of each experiment side by side, by what people did with their pictures.
import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { Failed, Skeletons } from "../../ui/feedback";
import { when } from "../../ui/format";
import { Table } from "../../ui/table";
import { FIGURES, TIME } from "./estimates";

type Experiment = Schemas["ExperimentResponse"];
const MEASURES = [...FIGURES, TIME];

export function Experiments() {
  const { data, isPending, isError, error, refetch } = useQuery({
    queryKey: ["admin", "experiments"],
    queryFn: () => request<Schemas["ExperimentsResponse"]>("GET", "/api/admin/experiments"),
    refetchInterval: 60_000,
  });
  return (
    <section className="card" aria-label="Experiments">
      <h2>Experiments</h2>
      {isPending && <Skeletons count={2} className="line" />}
      {isError && <Failed error={error} retry={refetch} />}
      {data?.experiments.length === 0 && <p className="muted">The settings name no experiments.</p>}
      {data?.experiments.map((one) => (
        <Arms key={one.experiment} experiment={one} />
      ))}
    </section>
  );
}

function Arms({ experiment: { experiment, arms, difference, note, since, until } }: { experiment: Experiment }) {
  const compared = difference ? ["Difference"] : [];
  return (
    <div className="stack">
      <h3>{experiment}</h3>
      <p className="muted">{note ?? `${when(since)} to ${when(until)}`}</p>
      <Table
        label={`Experiment ${experiment}`}
        head={["Measure", ...arms.map(({ arm }) => arm), ...compared]}
        rows={[
          ["users", "Users", ...arms.map(({ users }) => String(users)), ...compared.map(() => "")],
          ["pictures", "Pictures", ...arms.map(({ generations }) => String(generations)), ...compared.map(() => "")],
          ...MEASURES.map(({ name, of }): [string, ...string[]] => [
            name,
            name,
            ...arms.map(({ metrics }) => of(metrics)),
            ...(difference ? [of(difference)] : []),
          ]),
        ]}
      />
    </div>
  );
}
