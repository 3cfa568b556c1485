/** The events of a stream of bytes, {event, data} each, by the HTML standard's rules. One that the end cuts off is left out. */
export async function* events(stream) {
  let event = "";
  let data = [];
  for await (const line of lines(stream)) {
    if (line === "") {
      if (data.length) yield { event: event || "message", data: data.join("\n") };
      event = "";
      data = [];
    } else {
      const [name, value] = field(line);
      if (name === "data") data.push(value);
      else if (name === "event") event = value;
    }
  }
}

/** The name and the value of a line. A comment has no name. */
function field(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1)];
}

/** The lines of a stream, each as soon as its end is read; a last line without an end is left out. */
async function* lines(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let begun = "";
  let isAfterReturn = false;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      if (!text) continue;
      const parts = (isAfterReturn && text[0] === "\n" ? text.slice(1) : text).split(/\r\n|\r|\n/);
      isAfterReturn = text.endsWith("\r");
      parts[0] = begun + parts[0];
      begun = parts.pop();
      yield* parts;
    }
  } finally {
    // Nobody waits for the end of a stream that is left, nor hears of a failure that was thrown already.
    reader.cancel().catch(() => {});
  }
}
