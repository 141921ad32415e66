import { type FormEvent, useState } from "react";
import { Problem, request } from "../../api/client";
import { queryClient } from "../../api/queries";
import { Button, Text } from "../../ui/controls";

/** Instead of a page, where the site needs a key. */
export function SignIn() {
  return (
    <section className="card narrow">
      <h1>Sign in</h1>
      <p>
        This site needs an API key. Its administrator makes one with <code>atelier keys create</code>.
      </p>
      <SignInForm />
    </section>
  );
}

/** An API key once; the gateway keeps it in a cookie that no script can read. */
export function SignInForm() {
  const [key, setKey] = useState("");
  const [refusal, setRefusal] = useState<string>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await request("POST", "/api/session", { body: { key: key.trim() } });
      await queryClient.invalidateQueries();
    } catch (error) {
      setRefusal(error instanceof Problem ? error.detail : String(error));
    }
  };
  return (
    <form className="form" onSubmit={submit}>
      <Text label="API key" type="password" autoComplete="off" value={key} onChange={setKey} />
      {refusal && (
        <p className="error" role="alert">
          {refusal}
        </p>
      )}
      <Button primary type="submit" isDisabled={!key.trim()}>
        Sign in
      </Button>
    </form>
  );
}
