// RFC 8785, the one form in which a manifest is signed; for values without fractions.

export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const named = value as Record<string, unknown>;
  const names = Object.keys(named).sort(); // by UTF-16 code units, as the RFC asks
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(named[name])}`).join(",")}}`;
}
