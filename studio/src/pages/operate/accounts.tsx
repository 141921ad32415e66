// Who may use this site, and the keys that they do it with.
import { useState } from "react";
import { request, type Schemas, send } from "../../api/client";
import { Button, Choice, Dialog, Text, Toggle } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { when } from "../../ui/format";
import { Table } from "../../ui/table";
import { attempt, Card, useAdmin } from "./card";

const ROLES = ["admin", "user", "read-only"].map((id) => ({ id, name: id }));

export function Accounts() {
  const users = useAdmin<Schemas["UsersResponse"]>("/api/admin/users");
  const keys = useAdmin<Schemas["KeysResponse"]>("/api/admin/keys");
  const me = useAdmin<Schemas["MeResponse"]>("/v1/me");
  const active = keys.data?.keys.filter(({ status }) => status === "active") ?? [];
  const past = keys.data?.keys.filter(({ status }) => status !== "active") ?? [];
  const list = (shown: Schemas["KeyInfo"][]) => (
    <ul className="list">
      {shown.map((key) => (
        <KeyRow key={key.id} of={key} isOwn={key.id === me.data?.key_id} />
      ))}
    </ul>
  );
  return (
    <>
      <Card title="Users" query={users}>
        {users.data?.users.length === 0 && <p className="muted">None yet: the first key makes the first user.</p>}
        {!!users.data?.users.length && (
          <Table
            label="Users"
            head={["User", "Role", "Since", "May sign in"]}
            rows={users.data.users.map((one) => [
              one.id,
              one.id,
              <Choice
                key="role"
                label={`Role of ${one.id}`}
                isLabelHidden
                value={one.role}
                onChange={(role) => attempt(() => send("PUT", `/api/admin/users/${one.id}`, { body: { role } }))}
                options={ROLES}
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
        )}
      </Card>
      <Card title="Keys" query={keys}>
        <NewKey />
        {list(active)}
        {past.length > 0 && (
          <details className="more">
            <summary>Revoked and expired ({past.length})</summary>
            {list(past)}
          </details>
        )}
      </Card>
    </>
  );
}

function KeyRow({ of: key, isOwn }: { of: Schemas["KeyInfo"]; isOwn: boolean }) {
  return (
    <li className="jobrow">
      <div className="grow">
        <p>
          {key.user_id} · {key.name || key.id}
        </p>
        <p className="muted">
          {key.scopes.join(", ")} · last used {key.used_at ? when(key.used_at) : "never"}
          {key.expires_at ? ` · until ${when(key.expires_at)}` : ""}
        </p>
      </div>
      <span className="chip">{isOwn ? "this browser's" : key.status}</span>
      {key.status === "active" && (
        <Button label={`Revoke ${key.id}`} onPress={() => attempt(() => send("DELETE", `/api/admin/keys/${key.id}`))}>
          Revoke
        </Button>
      )}
    </li>
  );
}

function NewKey() {
  const [user, setUser] = useState("");
  const [name, setName] = useState("");
  const [made, setMade] = useState<string>();
  const create = () =>
    attempt(async () => {
      const body = { user_id: user.trim(), name: name.trim() };
      const { key } = await request<Schemas["NewKeyResponse"]>("POST", "/api/admin/keys", { body });
      setMade(key);
      setUser("");
      setName("");
    });
  return (
    <form
      className="row"
      onSubmit={(event) => {
        event.preventDefault();
        create();
      }}
    >
      <Text label="A key for" value={user} onChange={setUser} placeholder="user" />
      <Text label="Its name" value={name} onChange={setName} placeholder="laptop" maxLength={100} />
      <Button type="submit" isDisabled={!user.trim()}>
        Create a key
      </Button>
      <Dialog title="The new key" isOpen={made !== undefined} onClose={() => setMade(undefined)}>
        <p>It is shown this once.</p>
        <code className="secret">{made}</code>
        <Button onPress={() => made && copy(made, "Key")}>Copy</Button>
      </Dialog>
    </form>
  );
}
