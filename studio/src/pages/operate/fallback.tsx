// What draws when a model fails, and what is left out at the moment.
import { useQuery } from "@tanstack/react-query";
import { request, type Schemas } from "../../api/client";
import { Failed, Skeletons } from "../../ui/feedback";
import { seconds } from "../../ui/format";
import { Table } from "../../ui/table";

const STATES = { closed: "used", open: "left out", "half-open": "tried again" };

export function Fallback() {
  const { data, isPending, isError, error, refetch } = useQuery({
    queryKey: ["admin", "fallback"],
    queryFn: () => request<Schemas["FallbackResponse"]>("GET", "/api/admin/fallback"),
    refetchInterval: 15_000,
  });
  const rows = [...(data?.chain ?? []), ...(data?.watched ?? [])];
  return (
    <section className="card" aria-label="Fallback">
      <h2>Fallback</h2>
      {isPending && <Skeletons count={2} className="line" />}
      {isError && <Failed error={error} retry={refetch} />}
      {data && rows.length === 0 && <p className="muted">The settings name no fallback chain.</p>}
      {data && rows.length > 0 && (
        <Table
          label="Fallback"
          head={["Step", "State", `Ended within ${seconds(data.window_s)}`, "Failed", "Tried again in"]}
          rows={rows.map((one) => [
            one.name,
            one.name,
            STATES[one.state],
            String(one.ended),
            String(one.failed),
            one.wait_s ? seconds(one.wait_s) : "–",
          ])}
        />
      )}
    </section>
  );
}
