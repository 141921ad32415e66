// The versions of one engine side by side, by what people did with their pictures.
import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { Dialog } from "../../ui/controls";
import { Failed, Skeletons } from "../../ui/feedback";
import { percent, seconds } from "../../ui/format";
import { Table } from "../../ui/table";

type Compared = Schemas["ComparedVersion"];
type Estimate = Compared["metrics"]["mean_rating"];

const MEASURES: { name: string; of: (version: Compared) => string }[] = [
  { name: "Users", of: ({ users }) => String(users) },
  { name: "Pictures", of: ({ generations }) => String(generations) },
  { name: "Kept, shared or liked", of: ({ metrics }) => estimated(metrics.conversion_rate, percent) },
  { name: "Errors", of: ({ metrics }) => estimated(metrics.error_rate, percent) },
  { name: "Mean stars", of: ({ metrics }) => estimated(metrics.mean_rating, (value) => value.toFixed(2)) },
  { name: "Mean quality", of: ({ metrics }) => estimated(metrics.mean_quality, (value) => value.toFixed(3)) },
  { name: "Median, p95", of: ({ p50_time_s, p95_time_s }) => `${timed(p50_time_s)}, ${timed(p95_time_s)}` },
];

const timed = (value: number | null) => (value === null ? "–" : seconds(value));

/** With its 95 % confidence interval, where there is one. */
function estimated({ value, low, high }: Estimate, shown: (value: number) => string): string {
  if (value === null) return "–";
  return low === null || high === null ? shown(value) : `${shown(value)} (${shown(low)} to ${shown(high)})`;
}

export function VersionReport({ engine, close }: { engine: string; close: () => void }) {
  const query = useQuery({
    queryKey: ["admin", "models", engine, "report"],
    queryFn: () => request<Schemas["ReportResponse"]>("GET", `/api/admin/models/${engine}/report`),
  });
  const versions = query.data?.versions ?? [];
  return (
    <Dialog title={`Versions of ${engine}`} isOpen onClose={close} wide>
      {query.isPending && <Skeletons count={3} className="line" />}
      {query.isError && <Failed error={query.error} retry={query.refetch} />}
      {query.data && (
        <>
          {query.data.note && <p className="muted">{query.data.note}</p>}
          <Table
            label={`Versions of ${engine}`}
            head={["Measure", ...versions.map(({ version }) => `Version ${version}`)]}
            rows={MEASURES.map(({ name, of }) => [name, name, ...versions.map(of)])}
          />
        </>
      )}
    </Dialog>
  );
}
