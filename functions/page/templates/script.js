(() => {
  const part = page => page.getElementById("main");
  const isLive = () => part(document).hasAttribute("data-live");
  let timer;
  const schedule = () => { clearTimeout(timer); if (isLive()) timer = setTimeout(poll, 8000); };
  const poll = async () => {
    if (document.hidden || !isLive()) return;
    const request = new AbortController(), timeout = setTimeout(() => request.abort(), 10000);
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error", signal: request.signal });
      if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* No network, or no answer: the next request shows what is new. */ }
    clearTimeout(timeout);
    schedule();
  };
  const show = page => {
    const old = part(document), fresh = part(page);
    if (!fresh || fresh.outerHTML === old.outerHTML) return;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const news = fresh.querySelector("h1").textContent;
    const isNews = news !== old.querySelector("h1").textContent;
    old.replaceWith(document.adoptNode(fresh));
    document.title = page.title;
    document.querySelector("footer").textContent = page.querySelector("footer").textContent;
    if (focused) (document.getElementById(focused) || fresh).focus();
    if (isNews) document.getElementById("say").textContent = news;
  };
  document.addEventListener("visibilitychange", poll);
  schedule();
})();
