// Opens what htmx loads into #staff-dialog-body as a modal dialog. Without scripts the same links open full pages.
document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.detail.target.id === "staff-dialog-body" && !dialog.open) dialog.showModal();
});
document.addEventListener("htmx:responseError", (event) => {
    const dialog = document.getElementById("staff-dialog-body");
    if (dialog && event.detail.target === dialog) window.location.reload();
});
document.addEventListener("click", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.target.closest("[data-close-dialog]")) {
        event.preventDefault();
        dialog.close();
    }
});

// A whole API key must not stand in an address, which browsers and proxies keep: send it as a form instead.
document.addEventListener("submit", (event) => {
    const box = event.target.querySelector("#searchbar");
    const key = box ? box.value.trim() : "";
    if (!key.startsWith("sk-") || key.length < 32 || key.includes("…")) return;
    event.preventDefault();
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/admin/support/find-key/";
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    for (const [name, value] of Object.entries({ csrfmiddlewaretoken: token, key })) {
        const input = document.createElement("input");
        input.type = "hidden";
        input.name = name;
        input.value = value;
        form.append(input);
    }
    document.body.append(form);
    form.submit();
});
