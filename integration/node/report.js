// One line of JSON per check: { "name": …, "error": null or text }.

export async function check(name, work) {
  let error = null;
  try {
    const limit = new Promise((_, reject) => setTimeout(() => reject(new Error("no answer in time")), 10_000).unref());
    if (!(await Promise.race([work(), limit]))) error = "a wrong answer";
  } catch (raised) {
    error = String(raised?.stack ?? raised);
  }
  console.log(JSON.stringify({ name, error }));
}

export function report() {
  // A check that ran out of time may have left a connection open.
  process.exit(0);
}
