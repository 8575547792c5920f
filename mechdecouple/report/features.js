"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const table = at("latents");
  if (!table) return;
  const heads = [...table.tHead.rows[0].cells];
  const buttons = heads.map((head) => head.firstElementChild);
  const search = at("search"), order = at("order"), turn = at("turn"), open = at("open");
  const filters = [...document.querySelectorAll("select[data-by]")];
  const latents = [...table.tBodies].map((body, i) => ({
    body, i, fold: body.querySelector("details"), keys: [...body.rows[0].cells].map((cell) => cell.dataset.v), text: null,
  }));
  let column = buttons.findIndex((button) => button.dataset.key === order.value), down = true;

  const folded = (text) => text.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();

  function words(latent) {
    const row = latent.body.rows[0];
    latent.text ??= folded(`${row.cells[0].textContent} ${row.cells[8].textContent} ${latent.fold.textContent}`);
    return latent.text;
  }

  function filter() {
    const wanted = folded(search.value);
    let shown = 0;
    for (const latent of latents) {
      const fits = filters.every((by) => by.value === "*" || latent.body.dataset[by.dataset.by] === by.value)
        && (wanted === "" || words(latent).includes(wanted));
      latent.body.hidden = !fits;
      shown += fits;
    }
    at("count").textContent = shown === latents.length ? `${shown} latents` : `${shown} of ${latents.length} latents`;
    at("none").hidden = shown > 0;
  }

  // what is undefined comes last in either direction; equals keep the order that the page came with
  function sort() {
    const numeric = buttons[column].dataset.type === "number";
    const names = new Intl.Collator("en", { numeric: true });
    const compare = (x, y) => {
      const a = x.keys[column], b = y.keys[column];
      if (a === "" || b === "") return (a === "") - (b === "") || x.i - y.i;
      const way = numeric ? a - b : names.compare(a, b);
      return (down ? -way : way) || x.i - y.i;
    };
    table.append(...[...latents].sort(compare).map((latent) => latent.body));
    heads.forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    order.value = buttons[column].dataset.key;
    turn.textContent = down ? "↓ descending" : "↑ ascending";
  }

  function sortBy(wanted) {
    const first = ["latent", "kind", "knows"].includes(buttons[wanted].dataset.key);
    down = wanted === column ? !down : !first;
    column = wanted;
    sort();
  }

  function clear() {
    search.value = "";
    for (const by of filters) by.value = "*";
    filter();
  }

  function jump() {
    const latent = latents.find((one) => `#${one.body.id}` === location.hash);
    if (!latent) return;
    if (latent.body.hidden) clear();
    latent.fold.open = true;
    latent.body.scrollIntoView({ block: "center" });
    latent.body.focus({ preventScroll: true });
  }

  buttons.forEach((button, i) => {
    button.disabled = false;
    button.addEventListener("click", () => sortBy(i));
  });
  order.addEventListener("change", () => sortBy(buttons.findIndex((button) => button.dataset.key === order.value)));
  turn.addEventListener("click", () => sortBy(column));
  search.addEventListener("input", filter);
  for (const by of filters) by.addEventListener("change", filter);
  for (const id of ["clear", "clear-too"]) at(id).addEventListener("click", () => { clear(); search.focus(); });
  open.addEventListener("click", () => {
    const all = open.getAttribute("aria-pressed") === "false";
    open.setAttribute("aria-pressed", all);
    open.textContent = all ? "Close all" : "Open all";
    for (const latent of latents) latent.fold.open = all;
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input, select, textarea");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      filter();
    }
  });
  window.addEventListener("hashchange", jump);
  // a link to where the address already points changes no hash
  table.addEventListener("click", (event) => {
    if (event.target.closest?.("a")?.hash === location.hash) jump();
  });
  at("controls").hidden = false;
  filter();
  jump();
})();
