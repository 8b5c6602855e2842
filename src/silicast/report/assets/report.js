// Draws every chart of the report from the specification beside it. No network: data and libraries are in this file.
for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  // `ast` runs Vega's expressions in its interpreter: the content policy of this page forbids eval
  vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true, tooltip: { disableDefaultStyle: false } })
    .catch((error) => {
      place.textContent = `This chart could not be drawn (${error.message}); its numbers are in the table below.`;
      console.error(error);
    });
}
