<%inherit file="base.mako"/>\
<%namespace name="ui" file="ui.mako"/>\
<%page cached="True" cache_region="short" cache_timeout="300"
       cache_key="digest:${half}" cache_vary="${(user.units,)}"/>\
<%block name="title">The ${half} brief – The Saltmere Courier</%block>
<% today = news.weather(user.units) %>
<div class="digest">
<h1>The ${half} brief</h1>
<p class="standfirst">What there is to know before the ${"first ferry" if half == "morning" else "last ferry"}.
${today["word"]}; ${today["mean"]} on the quay.</p>
% for slug, title in sections.items():
<%ui:panel title="${title}" kind="brief">
<% newest = news.latest(slug) %>
% for article in newest[:3] if half == "morning" else newest[3:6]:
<%include file="brief.mako" args="article_id=article.id"/>
% endfor
</%ui:panel>
% endfor
<p class="meta"><a href="/digest/${'evening' if half == 'morning' else 'morning'}">\
The ${"evening" if half == "morning" else "morning"} brief</a></p>
</div>
