// What an administrator looks at: health, rates, costs, users and keys, flags, the audit log.
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { request, type Schemas, send } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Choice, Dialog, Segments, Text, Toggle } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { Fact } from "../../ui/facts";
import { Failed, Skeletons } from "../../ui/feedback";
import { percent, seconds, when } from "../../ui/format";
import { Table } from "../../ui/table";
import { toastError } from "../../ui/toasts";
import { Cohorts } from "./cohorts";
import { EngineVersions } from "./engine_versions";
import { Experiments } from "./experiments";
import { Fallback } from "./fallback";

const useAdmin = <T,>(path: string, query?: Record<string, string | number>) =>
  useQuery({
    queryKey: ["admin", path, query],
    queryFn: () => request<T>("GET", path, { query }),
    refetchInterval: 15_000,
  });

export function Operate() {
  return (
    <div className="page">
      <h1>Operate</h1>
      <Quality />
      <Costs />
      <Accounts />
      <Cohorts />
      <EngineVersions />
      <Experiments />
      <Fallback />
      <Flags />
      <Audit />
    </div>
  );
}

function Card({
  title,
  query,
  children,
}: {
  title: string;
  query: { isPending: boolean; isError: boolean; error: unknown; refetch: () => void };
  children: ReactNode;
}) {
  return (
    <section className="card" aria-label={title}>
      <h2>{title}</h2>
      {query.isPending && <Skeletons count={2} className="line" />}
      {query.isError && <Failed error={query.error} retry={query.refetch} />}
      {children}
    </section>
  );
}

function Quality() {
  const [range, setRange] = useState("7d");
  const query = useAdmin<Schemas["QualityResponse"]>("/api/admin/quality", { range });
  const most = Math.max(...(query.data?.by_day ?? []).map((day) => day.total), 1);
  return (
    <Card title="What was made" query={query}>
      <Segments
        label="Range"
        value={range}
        onChange={setRange}
        options={["24h", "7d", "30d"].map((id) => ({ id, name: id }))}
      />
      {query.data && (
        <>
          <dl className="facts columns">
            <Fact name="In all" value={String(query.data.total)} />
            <Fact name="Right" value={percent(query.data.success_rate)} />
            <Fact name="From the cache" value={percent(query.data.cache_hit_rate)} />
            <Fact
              name="Median, p95"
              value={`${seconds(query.data.p50_generation_time_s)}, ${seconds(query.data.p95_generation_time_s)}`}
            />
          </dl>
          <ul className="days" aria-label="By day">
            {query.data.by_day.map((day) => (
              <li key={day.day} title={`${day.day}: ${day.total}, ${day.successes} right`}>
                <span className="bar" style={{ blockSize: `${(day.total / most) * 100}%` }} />
                <span className="muted">{day.day.slice(5)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Card>
  );
}

function Costs() {
  const query = useAdmin<Schemas["CostsResponse"]>("/api/admin/costs", { by: "user" });
  return (
    <Card title="Use by user" query={query}>
      <Table
        label="Use by user"
        head={["User", "Requests", "Processor", "GPU"]}
        rows={(query.data?.costs ?? []).map((row) => [
          row.of ?? "",
          row.of ?? "–",
          row.requests,
          seconds(row.cpu_seconds),
          seconds(row.gpu_seconds),
        ])}
      />
    </Card>
  );
}

function Accounts() {
  const users = useAdmin<Schemas["UsersResponse"]>("/api/admin/users");
  const keys = useAdmin<Schemas["KeysResponse"]>("/api/admin/keys");
  const [user, setUser] = useState("");
  const [made, setMade] = useState<string>();
  const refresh = () => queryClient.invalidateQueries({ queryKey: ["admin"] });
  const attempt = async (work: () => Promise<unknown>) => {
    try {
      await work();
      refresh();
    } catch (error) {
      toastError(error);
    }
  };
  const create = () =>
    attempt(async () => {
      const { key } = await request<Schemas["NewKeyResponse"]>("POST", "/api/admin/keys", {
        body: { user_id: user.trim() },
      });
      setMade(key);
      setUser("");
    });
  return (
    <Card title="Users and keys" query={users}>
      <Table
        label="Users"
        head={["User", "Role", "Since", "May sign in"]}
        rows={(users.data?.users ?? []).map((one) => [
          one.id,
          one.id,
          <Choice
            key="role"
            label={`Role of ${one.id}`}
            value={one.role}
            onChange={(role) => attempt(() => send("PUT", `/api/admin/users/${one.id}`, { body: { role } }))}
            options={["admin", "user", "read-only"].map((id) => ({ id, name: id }))}
          />,
          when(one.created_at),
          <Toggle
            key="enabled"
            label={one.id}
            value={!one.disabled_at}
            onChange={(on) => attempt(() => send("PUT", `/api/admin/users/${one.id}`, { body: { disabled: !on } }))}
          />,
        ])}
      />
      <form
        className="row"
        onSubmit={(event) => {
          event.preventDefault();
          create();
        }}
      >
        <Text label="A key for" value={user} onChange={setUser} placeholder="user name" />
        <Button type="submit" isDisabled={!user.trim()}>
          Create a key
        </Button>
      </form>
      <ul className="list">
        {keys.data?.keys.map((key) => (
          <li key={key.id} className="jobrow">
            <div className="grow">
              <p>
                {key.user_id} · {key.name || key.id}
              </p>
              <p className="muted">
                {key.scopes.join(", ")} · last used {when(key.used_at)}
              </p>
            </div>
            <span className="chip">{key.status}</span>
            {key.status === "active" && (
              <Button
                label={`Revoke ${key.id}`}
                onPress={() => attempt(() => send("DELETE", `/api/admin/keys/${key.id}`))}
              >
                Revoke
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Dialog title="The new key" isOpen={made !== undefined} onClose={() => setMade(undefined)}>
        <p>It is shown this once.</p>
        <code className="secret">{made}</code>
        <Button onPress={() => made && copy(made, "Key")}>Copy</Button>
      </Dialog>
    </Card>
  );
}

function Flags() {
  const query = useAdmin<{ flags: Schemas["FlagInfo"][] }>("/api/admin/flags");
  const set = async (flag: Schemas["FlagInfo"], enabled: boolean) => {
    const { percentage, users } = flag;
    await send("PUT", `/api/admin/flags/${flag.name}`, { body: { enabled, percentage, users } }).catch(toastError);
    queryClient.invalidateQueries({ queryKey: ["admin"] });
  };
  return (
    <Card title="Feature flags" query={query}>
      {query.data?.flags.length === 0 && <p className="muted">The settings name no flags.</p>}
      {query.data?.flags.map((flag) => (
        <Toggle
          key={flag.name}
          label={`${flag.name} (${flag.percentage} % of users)`}
          value={flag.enabled}
          onChange={(enabled) => set(flag, enabled)}
        />
      ))}
    </Card>
  );
}

function Audit() {
  const query = useAdmin<Schemas["AuditResponse"]>("/api/admin/audit", { limit: 20 });
  return (
    <Card title="Audit log" query={query}>
      <Table
        label="Audit log"
        head={["When", "Who", "What", "Subject", "From"]}
        rows={(query.data?.entries ?? []).map((entry) => [
          String(entry.seq),
          when(entry.created_at),
          entry.user_id ?? "–",
          entry.action,
          entry.subject ?? "–",
          entry.address ?? "–",
        ])}
      />
    </Card>
  );
}
