// Features for some of the users.
import { type Schemas, send } from "../../api/client";
import { Button, SettledRange, Toggle } from "../../ui/controls";
import { counted } from "../../ui/format";
import { attempt, Card, useAdmin } from "./card";

type Flag = Schemas["FlagInfo"];

export function Flags() {
  const query = useAdmin<{ flags: Flag[] }>("/api/admin/flags");
  const set = ({ name, enabled, percentage, users }: Flag) =>
    attempt(() => send("PUT", `/api/admin/flags/${name}`, { body: { enabled, percentage, users } }));
  return (
    <Card title="Feature flags" query={query}>
      {query.data?.flags.length === 0 && <p className="muted">The settings name no flags.</p>}
      <ul className="list">
        {query.data?.flags.map((flag) => (
          <li key={flag.name} className="jobrow">
            <div className="grow">
              <Toggle label={flag.name} value={flag.enabled} onChange={(enabled) => set({ ...flag, enabled })} />
              {flag.users.length > 0 && (
                <p className="muted">
                  and {counted(flag.users.length, "user")} by name: {flag.users.join(", ")}
                </p>
              )}
            </div>
            <SettledRange
              label={`Share of users with ${flag.name}`}
              value={flag.percentage}
              onSettled={(percentage) => set({ ...flag, percentage })}
              min={0}
              max={100}
              unit="%"
            />
            <Button
              quiet
              label={`As in the settings: ${flag.name}`}
              onPress={() => attempt(() => send("DELETE", `/api/admin/flags/${flag.name}`))}
            >
              As in the settings
            </Button>
          </li>
        ))}
      </ul>
    </Card>
  );
}
