// The live log of a model: one store, any number of views of it.

function listen(model, store) {
  let token = "";
  let timer = null;
  let older = "";
  // The first message may wait behind a computing cell while a later one finds a way past it.
  const repeat = (said, wait) => {
    if (token !== said.token) return;
    model.send({ kind: "hello", ...said });
    timer = setTimeout(() => repeat(said, Math.min(wait * 2, 30000)), wait);
  };
  const hello = () => {
    clearTimeout(timer);
    token = `${Date.now()}-${Math.random()}`;
    repeat({ ...store.hello(), token }, 2000);
  };
  store.askOlder = () => {
    const before = store.first;
    if (before === null || store.whole) return false;
    older = `o${Date.now()}-${Math.random()}`;
    model.send({ kind: "older", before, token: older });
    return true;
  };
  const read = (buffers) => JSON.parse(new TextDecoder().decode(buffers[0]));
  const onMessage = (content, buffers) => {
    if (content.kind === "resync") hello();
    else if (content.kind === "batch") store.batch(read(buffers), content.said);
    else if (content.kind === "backlog" && content.token === token) {
      token = "";
      clearTimeout(timer);
      store.backlog(read(buffers), content.said, content.whole);
    } else if (content.kind === "older" && content.token === older) {
      older = "";
      if (content.error) store.tell("notice", content.error);
      else store.older(read(buffers), content.whole);
    }
  };
  model.on("msg:custom", onMessage);
  hello();
  return () => {
    clearTimeout(timer);
    model.off("msg:custom", onMessage);
  };
}

// Called once per model; initialize and render are given different proxies of it, so what they
// share is kept here.
export default () => {
  let store = null;
  return {
    initialize({ model }) {
      store = new LogStore(model.get("lines"));
      return listen(model, store);
    },
    render({ model, el }) {
      const view = new LogView(model, el, store);
      return () => view.close();
    },
  };
};
