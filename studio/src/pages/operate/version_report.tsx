// The versions of one engine side by side, by what people did with their pictures.
import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { Dialog } from "../../ui/controls";
import { Failed, Skeletons } from "../../ui/feedback";
import { seconds } from "../../ui/format";
import { Table } from "../../ui/table";
import { FIGURES } from "./estimates";

type Compared = Schemas["ComparedVersion"];

const MEASURES: { name: string; of: (version: Compared) => string }[] = [
  { name: "Users", of: ({ users }) => String(users) },
  { name: "Pictures", of: ({ generations }) => String(generations) },
  ...FIGURES.map(({ name, of }) => ({ name, of: ({ metrics }: Compared) => of(metrics) })),
  { name: "Median, p95", of: ({ p50_time_s, p95_time_s }) => `${timed(p50_time_s)}, ${timed(p95_time_s)}` },
];

const timed = (value: number | null) => (value === null ? "–" : seconds(value));

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
