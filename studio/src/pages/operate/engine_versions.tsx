import { useQuery } from "@tanstack/react-query";
import { request, type Schemas, send } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Range } from "../../ui/controls";
import { Failed } from "../../ui/feedback";
import { toastError } from "../../ui/toasts";

/** Versions of engines, who gets a candidate, and the way back. */
export function EngineVersions() {
  const query = useQuery({
    queryKey: ["admin", "models"],
    queryFn: () => request<Schemas["VersionsResponse"]>("GET", "/api/admin/models"),
    refetchInterval: 10_000,
  });
  const change = async (engine: string, action: string, body: unknown) => {
    await send("POST", `/api/admin/models/${engine}/${action}`, { body }).catch(toastError);
    queryClient.invalidateQueries({ queryKey: ["admin", "models"] });
  };
  return (
    <section className="card" aria-labelledby="versions">
      <h2 id="versions">Engine versions</h2>
      {query.isError && <Failed error={query.error} retry={query.refetch} />}
      <table className="table">
        <thead>
          <tr>
            <th>Engine</th>
            <th>Version</th>
            <th>Role</th>
            <th>Replicas</th>
            <th>Change</th>
          </tr>
        </thead>
        <tbody>
          {query.data?.models.map((one) => (
            <tr key={`${one.engine}/${one.version}`}>
              <td>{one.engine}</td>
              <td>{one.label ?? one.version}</td>
              <td>{one.role}</td>
              <td>
                {one.replicas} of {one.of}
              </td>
              <td>
                {one.role === "candidate" && (
                  <div className="row">
                    <Range
                      label="Share"
                      value={one.percentage}
                      onChange={(percentage) => change(one.engine, "split", { percentage })}
                      min={0}
                      max={100}
                      shown={`${one.percentage} %`}
                    />
                    <Button onPress={() => change(one.engine, "promote", { version: one.version })}>Promote</Button>
                    <Button onPress={() => change(one.engine, "rollback", {})}>Roll back</Button>
                  </div>
                )}
                {one.role === "there" && (
                  <Button onPress={() => change(one.engine, "load", { version: one.version })}>Load</Button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
